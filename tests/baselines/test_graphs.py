"""LightGCN and NGCF against dense matrices."""

import numpy as np
import pytest
import torch

from usermodel.baselines.interactions import Interactions
from usermodel.baselines.light_gcn import LightGcn
from usermodel.baselines.matrix_factorization import MatrixFactorization
from usermodel.baselines.ngcf import Ngcf
from usermodel.errors import ConfigError

USER, ITEM = np.array([0, 0, 1, 2, 2]), np.array([1, 2, 2, 1, 3])


@pytest.fixture
def pairs():
    return Interactions.from_arrays(USER, ITEM, n_users=3, n_items=4)


def adjacency():
    a = np.zeros((7, 7))
    a[USER, 2 + ITEM] = a[2 + ITEM, USER] = 1
    return a


@pytest.mark.parametrize("combine", ["mean", "sum", "concat", "last"])
def test_light_gcn_equals_powers_of_the_dense_matrix(pairs, combine):
    torch.manual_seed(0)
    model = LightGcn(pairs, 5, layers=2, combine=combine)
    a = adjacency()
    d = np.diag([0 if degree == 0 else degree**-0.5 for degree in a.sum(1)])
    e = torch.cat(list(model.layer_0())).detach().numpy()
    layers = [e, d @ a @ d @ e, d @ a @ d @ d @ a @ d @ e]
    wanted = {
        "mean": sum(layers) / 3,
        "sum": sum(layers),
        "concat": np.concatenate(layers, axis=1),
        "last": layers[2],
    }[combine]
    np.testing.assert_allclose(torch.cat(list(model.tables())).detach().numpy(), wanted, atol=1e-6)


def test_ngcf_equals_its_formula(pairs):
    torch.manual_seed(0)
    model = Ngcf(pairs, 5, widths=(4, 3)).eval()
    a = adjacency() + np.eye(7)
    operator = torch.from_numpy(a / a.sum(1, keepdims=True)).float()
    e = torch.cat(list(model.layer_0()))
    wanted = [e]
    for one, two in zip(model.of_sums, model.of_products, strict=True):
        total = operator @ e
        left, right = total @ one.weight.T + one.bias, (e * total) @ two.weight.T + two.bias
        e = torch.where(left > 0, left, 0.2 * left) + torch.where(right > 0, right, 0.2 * right)
        wanted.append(e / e.norm(dim=1, keepdim=True))
    torch.testing.assert_close(torch.cat(list(model.tables())), torch.cat(wanted, dim=1))


def test_ngcf_drops_out_in_training_only(pairs):
    model = Ngcf(pairs, 5)
    torch.manual_seed(0)
    assert not torch.equal(model.tables().users, model.tables().users)
    users = np.arange(3)
    assert torch.equal(model.scorer().scores(users), model.scorer().scores(users))
    assert model.training
    model.eval()
    assert torch.equal(model.tables().users, model.tables().users)


def test_scores_are_inner_products_of_the_tables(pairs):
    model = LightGcn(pairs, 5)
    users, items = model.tables()
    torch.testing.assert_close(model.scorer().scores(np.array([2, 0])), (users[[2, 0]] @ items.T).detach())
    torch.testing.assert_close(model.item_vectors(torch.tensor([4, 1])), items[[3, 0]])


def test_vectors_of_length_1_are_scored_and_no_longer_rows(pairs):
    torch.manual_seed(0)
    plain, cosine = (MatrixFactorization(3, 4, 5, cosine=cosine) for cosine in (False, True))
    cosine.load_state_dict(plain.state_dict())
    for ours, theirs in zip(cosine.tables(), plain.tables(), strict=True):
        torch.testing.assert_close(ours, theirs / theirs.norm(dim=1, keepdim=True))
    assert plain.reads_rows
    assert not cosine.reads_rows
    assert not LightGcn(pairs, layers=0, cosine=True).reads_rows


def test_no_such_way_to_combine(pairs):
    with pytest.raises(ConfigError, match="Did you mean 'mean'"):
        LightGcn(pairs, combine="means")
