"""NBPO as a model: without flips it is BPO, bit for bit, and on planted data its posterior finds the hidden positives."""

import numpy as np
import pytest
import torch

from usermodel.baselines.factors import PairBatch
from usermodel.baselines.fit import FitConfig, fit
from usermodel.baselines.interactions import Interactions
from usermodel.baselines.matrix_factorization import MatrixFactorization
from usermodel.baselines.nbpo import Bpo, Nbpo
from usermodel.losses.nbpo import flip_posterior, nbpo
from usermodel.metrics.classification import measure
from usermodel.negatives.protocol import Negatives
from usermodel.negatives.uniform import Uniform

N_USERS, N_ITEMS, GROUPS = 90, 60, 3


def planted(seed=0):
    """Users and items of three groups: half of the items of a user's own group are positives. One of five is hidden."""
    rng = np.random.default_rng(seed)
    own = np.arange(N_USERS)[:, None] % GROUPS == np.arange(N_ITEMS) % GROUPS
    positive = own & (rng.random((N_USERS, N_ITEMS)) < 0.5)
    hidden = positive & (rng.random((N_USERS, N_ITEMS)) < 0.2)
    user, item = np.nonzero(positive & ~hidden)
    pairs = Interactions.from_arrays(user, item + 1, n_users=N_USERS, n_items=N_ITEMS)
    return pairs, hidden, ~own


def trained(loss, pairs, **options):
    torch.manual_seed(1)
    model = MatrixFactorization(N_USERS, N_ITEMS, 8)
    config = FitConfig(**{"epochs": 30, "batch_pairs": 256, "learning_rate": 0.02} | options)
    fit(model, pairs, loss, Uniform(N_ITEMS, shared=False), config)
    return model


@pytest.mark.parametrize("form", ["surrogate", "likelihood"])
def test_with_flips_out_of_reach_training_is_bpos_bit_for_bit(form):
    """P = Q up to sign, held far from the origin: every flip score is -8 * 36 = -288."""
    pairs, *_ = planted()
    loss = Nbpo(N_USERS, N_ITEMS, dim=8, form=form)
    with torch.no_grad():
        loss.users.fill_(6.0)
        loss.items.fill_(-6.0)
    for weight in loss.parameters():
        weight.requires_grad_(False)
    ours, theirs = trained(loss, pairs, epochs=5), trained(Bpo(), pairs, epochs=5)
    assert torch.equal(ours.users.weight, theirs.users.weight)
    assert torch.equal(ours.items.weight, theirs.items.weight)


def test_flip_vectors_start_as_published_and_nothing_is_noisy():
    torch.manual_seed(0)
    loss = Nbpo(200, 300, dim=50)
    top = 5 / 50**0.5
    assert 0 <= loss.users.min() < 0.01 * top < 0.99 * top < loss.users.max() <= top
    assert -top <= loss.items.min() < -0.99 * top < -0.01 * top < loss.items.max() <= 0
    # 50 products of a mean of -25 / 50 / 4 each.
    assert (loss.users @ loss.items.T).mean().item() == pytest.approx(-6.25, abs=0.3)


@pytest.mark.parametrize("shared", [True, False])
def test_loss_of_a_batch_by_hand(shared):
    """Scores and flips looked up one by one, with hits and a weight of 0 left out."""
    torch.manual_seed(0)
    users, items, loss = (
        torch.randn(4, 3),
        torch.randn(6, 3),
        Nbpo(4, 6, dim=2, flip_l2=0.1, form="likelihood"),
    )
    loss.requires_grad_(requires_grad=False)
    user, item = torch.tensor([0, 3, 0]), torch.tensor([2, 5, 6])
    ids = torch.tensor([2, 4]) if shared else torch.tensor([[2, 4], [5, 1], [3, 3]])
    weight = None if shared else torch.tensor([[1.0, 0.0], [1.0, 0.5], [1.0, 1.0]])
    negatives = Negatives(ids, torch.zeros(ids.shape), weight)
    batch = PairBatch(user, item, users, items, user, item - 1, negatives, ids - 1)

    scores, flips = users @ items.T, loss.users @ loss.items.T
    rows = list(zip(user.tolist(), item.tolist(), ids.expand(3, 2).tolist(), strict=True))
    first = [[table[u, i - 1] for u, i, _ in rows] for table in (scores, flips)]
    second = [[[table[u, j - 1] for j in drawn] for u, _, drawn in rows] for table in (scores, flips)]
    counts = torch.tensor([[float(j != i) for j in drawn] for _, i, drawn in rows])
    counts = counts if weight is None else counts * weight
    parts = (torch.tensor(part) for part in (first[0], second[0], first[1], second[1]))
    wanted = nbpo(*parts, counts, form="likelihood")
    touched = [loss.users[u] for u, *_ in rows] + [loss.items[i - 1] for _, i, _ in rows]
    touched += [loss.items[j - 1] for j in ids.flatten().tolist()]
    norm = torch.stack([vector.square().sum() for vector in touched]).sum()
    torch.testing.assert_close(loss(batch), wanted + 0.1 * norm / 2 / 3)


@pytest.mark.parametrize("form", ["surrogate", "likelihood", "probability"])
def test_hidden_positives_have_a_higher_posterior_than_true_negatives(form):
    pairs, hidden, negative = planted()
    torch.manual_seed(0)
    loss = Nbpo(N_USERS, N_ITEMS, dim=8, form=form)
    scores = trained(loss, pairs).scorer().scores(np.arange(N_USERS))
    user, item = np.nonzero(hidden | negative)
    flips = loss.flip_scores(torch.from_numpy(user), torch.from_numpy(item + 1))
    posterior = flip_posterior(scores[user, item], flips).double().numpy()
    truth = hidden[user, item].astype(np.int64)
    low, _ = measure(np.stack([1 - posterior, posterior], 1), truth)["auc"].interval()
    assert low > 0.8
    assert posterior[truth == 1].mean() > 1.5 * posterior[truth == 0].mean()
