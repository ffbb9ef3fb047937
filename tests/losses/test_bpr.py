"""BPR against the formula, pair by pair."""

import math

import pytest
import torch

from usermodel.losses import positive_and_negatives
from usermodel.losses.bpr import bpr

ROWS, CLASSES, DIM, N = 11, 7, 3, 4


def inputs(shared: bool):
    generator = torch.Generator().manual_seed(0)
    events = torch.randn(ROWS, DIM, dtype=torch.float64, generator=generator).requires_grad_()
    items = torch.randn(CLASSES, DIM, dtype=torch.float64, generator=generator).requires_grad_()
    target = torch.randint(CLASSES, (ROWS,), generator=generator)
    ids = torch.randint(CLASSES, (N,) if shared else (ROWS, N), generator=generator)
    weight = torch.rand(ids.shape, dtype=torch.float64, generator=generator)
    return events, items, target, ids, weight


def naive(events, items, target, ids, weight):
    total = 0.0
    for row in range(len(events)):
        drawn, weights = (x if x.dim() == 1 else x[row] for x in (ids, weight))
        for i, w in zip(drawn, weights, strict=True):
            if i != target[row]:
                above = events[row] @ items[target[row]] - events[row] @ items[i]
                total = total - w * torch.log(1 / (1 + torch.exp(-above))) / len(drawn)
    return total / len(events)


def test_a_pair_by_hand():
    """Scores 2 and 0.5: -log sigmoid(1.5)."""
    events, items = torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 9.0], [0.5, 9.0]])
    loss = bpr(events, items, torch.tensor([0]), torch.tensor([[1]]))
    assert float(loss) == pytest.approx(math.log(1 + math.exp(-1.5)))


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("numbers", [1, 30, 1 << 20])
def test_value_and_gradients_equal_the_formula_for_every_chunk_size(monkeypatch, shared, numbers):
    monkeypatch.setattr(positive_and_negatives, "CHUNK_NUMBERS", numbers)
    events, items, target, ids, weight = inputs(shared)
    assert bool((ids == (target[0] if shared else target[:, None])).any())  # accidental hits
    for given in (None, weight):
        ours = bpr(events, items, target, ids, given)
        theirs = naive(events, items, target, ids, torch.ones_like(weight) if given is None else given)
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)
        gradients = (torch.autograd.grad(loss, (events, items)) for loss in (ours, theirs))
        for a, b in zip(*gradients, strict=True):
            torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("shared", [True, False])
def test_gradcheck(shared):
    events, items, target, ids, weight = inputs(shared)
    assert torch.autograd.gradcheck(lambda e, i: bpr(e, i, target, ids, weight), (events, items))


def test_no_row_and_a_weight_of_nothing_cost_nothing():
    events, items, target, ids, weight = inputs(False)
    none = bpr(events[:0], items, target[:0], ids[:0])
    none.backward()
    assert float(none.detach()) == 0.0
    assert not items.grad.any()
    assert float(bpr(events, items, target, ids, torch.zeros_like(weight)).detach()) == 0.0


def test_scores_too_far_apart_for_an_exponential_are_finite():
    events, items = torch.tensor([[1.0]]), torch.tensor([[-500.0], [500.0]])
    assert float(bpr(events, items, torch.tensor([0]), torch.tensor([[1]]))) == pytest.approx(1000.0)
