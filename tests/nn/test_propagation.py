"""Propagation against dense matrices."""

import numpy as np
import pytest
import torch

from usermodel.nn.propagation import Propagation, combine, layers_of

# Users 0, 1, 2; items 0 to 3; item 3 has no user.
USER, ITEM = torch.tensor([2, 0, 0, 1, 2]), torch.tensor([0, 1, 0, 2, 1])
N_USERS, N_ITEMS = 3, 4


def dense(operator):
    a = np.zeros((N_USERS + N_ITEMS,) * 2)
    for user, item in zip(USER.tolist(), ITEM.tolist(), strict=True):
        a[user, N_USERS + item] = a[N_USERS + item, user] = 1
    if operator == "row-stochastic":
        a += np.eye(len(a))
        return np.linalg.inv(np.diag(a.sum(1))) @ a
    d = np.diag([0 if degree == 0 else degree**-0.5 for degree in a.sum(1)])
    return d @ a @ d


def graph(operator="symmetric", **options):
    return Propagation(USER, ITEM, n_users=N_USERS, n_items=N_ITEMS, operator=operator, **options)


def values():
    generator = torch.Generator().manual_seed(0)
    both = [torch.randn(n, 5, dtype=torch.float64, generator=generator) for n in (N_USERS, N_ITEMS)]
    return [one.requires_grad_() for one in both]


def test_one_product_by_hand():
    """User 0 has items 0 and 1 with two users each: each neighbour counts 1 / sqrt(2 * 2)."""
    users, items = torch.zeros(3, 1), torch.tensor([[1.0], [2.0], [4.0], [8.0]])
    found = graph()(users, items)[0]
    torch.testing.assert_close(found, torch.tensor([[1.5], [4.0], [1.5]]))


@pytest.mark.parametrize("operator", ["symmetric", "row-stochastic"])
def test_three_layers_equal_powers_of_the_dense_matrix(operator):
    users, items = values()
    layers = layers_of(graph(operator).double(), users, items, 3)
    stacked = torch.cat([users, items]).detach().numpy()
    for k, (of_users, of_items) in enumerate(layers):
        wanted = np.linalg.matrix_power(dense(operator), k) @ stacked
        # The scales are float32.
        np.testing.assert_allclose(torch.cat([of_users, of_items]).detach().numpy(), wanted, rtol=1e-6)


@pytest.mark.parametrize("operator", ["symmetric", "row-stochastic"])
def test_the_gradient_is_the_product_with_the_transpose(operator):
    users, items = values()
    up = torch.randn(N_USERS + N_ITEMS, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    out = torch.cat(graph(operator).double()(users, items))
    found = torch.cat(torch.autograd.grad((out * up).sum(), (users, items)))
    np.testing.assert_allclose(found.numpy(), dense(operator).T @ up.numpy(), rtol=1e-6)


@pytest.mark.parametrize("operator", ["symmetric", "row-stochastic"])
def test_gradients_of_gradients(operator):
    step = graph(operator).double()
    assert torch.autograd.gradgradcheck(lambda u, i: torch.cat(step(u, i)) ** 2, values())


def test_edge_dropout_is_right_in_the_mean_and_off_in_evaluation():
    users, items = (one.detach() for one in values())
    step = graph("row-stochastic", edge_dropout=0.3).double()
    torch.manual_seed(0)
    mean = torch.stack([torch.cat(step(users, items)) for _ in range(4000)]).mean(0)
    wanted = torch.from_numpy(dense("row-stochastic")) @ torch.cat([users, items])
    torch.testing.assert_close(mean, wanted, atol=0.06, rtol=0)
    assert not torch.equal(torch.cat(step(users, items)), torch.cat(step(users, items)))
    step.eval()
    torch.testing.assert_close(torch.cat(step(users, items)), wanted, rtol=1e-6, atol=0)


def test_the_gradient_leaves_out_the_same_edges():
    step = graph(edge_dropout=0.5).double()

    def same(users, items):
        torch.manual_seed(3)
        return torch.cat(step(users, items))

    assert torch.autograd.gradcheck(same, values())


def test_edges_in_any_order_give_the_same_bits():
    users, items = (one.detach() for one in values())
    turn = torch.tensor([3, 0, 4, 1, 2])
    other = Propagation(USER[turn], ITEM[turn], n_users=N_USERS, n_items=N_ITEMS)
    assert torch.equal(torch.cat(graph()(users, items)), torch.cat(other(users, items)))


def test_the_graph_is_no_part_of_the_weights():
    assert graph().state_dict() == {}


def test_layers_are_combined():
    layers = [torch.tensor([[1.0]]), torch.tensor([[2.0]]), torch.tensor([[6.0]])]
    found = {how: combine(layers, how).tolist() for how in ("mean", "sum", "concat", "last")}
    assert found == {"mean": [[3.0]], "sum": [[9.0]], "concat": [[1.0, 2.0, 6.0]], "last": [[6.0]]}
