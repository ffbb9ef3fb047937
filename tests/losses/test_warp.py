"""WARP score by score, and its estimate of the rank."""

import math

import pytest
import torch

from usermodel.losses import positive_and_negatives
from usermodel.losses.warp import rank_weight, warp

ROWS, CLASSES, DIM, N, N_ITEMS = 11, 8, 4, 5, 20


def inputs(shared):
    generator = torch.Generator().manual_seed(1)
    events = torch.randn(ROWS, DIM, dtype=torch.float64, generator=generator)
    items = torch.randn(CLASSES, DIM, dtype=torch.float64, generator=generator)
    target = torch.randint(CLASSES, (ROWS,), generator=generator)
    ids = torch.randint(CLASSES, (N,) if shared else (ROWS, N), generator=generator)
    q = torch.softmax(torch.randn(CLASSES, dtype=torch.float64, generator=generator), 0)
    return events.requires_grad_(), items.requires_grad_(), target, ids, q.log()[ids]


def naive(events, items, target, ids, log_q, weight):
    losses = []
    for row in range(len(events)):
        drawn, logs, weights = (x if x.dim() == 1 else x[row] for x in (ids, log_q, weight))
        lead, rank, hinge, mass = events[row] @ items[target[row]], 0.0, 0.0, 0.0
        for i, log, w in zip(drawn, logs, weights, strict=True):
            excess = 1 - lead + events[row] @ items[i]
            if i != target[row] and excess > 0:
                rank += w.item() / math.exp(log) / len(drawn)
                hinge, mass = hinge + w * excess, mass + w.item()
        losses.append(math.log(min(rank, N_ITEMS) + 1) * hinge / mass if mass else 0 * lead)
    return torch.stack(losses).mean()


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("numbers", [1, 1 << 20])
def test_value_and_gradients_equal_the_formula(monkeypatch, shared, weighted, numbers):
    monkeypatch.setattr(positive_and_negatives, "CHUNK_NUMBERS", numbers)
    events, items, target, ids, log_q = inputs(shared)
    assert bool((ids == target[:, None]).any())  # accidental hits
    weight = torch.linspace(0.0, 2.0, ids.numel(), dtype=torch.float64).view(ids.shape)
    ours = warp(events, items, target, ids, log_q, weight if weighted else None, n_items=N_ITEMS)
    theirs = naive(events, items, target, ids, log_q, weight if weighted else torch.ones_like(weight))
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)
    pairs = (torch.autograd.grad(loss, [events, items]) for loss in (ours, theirs))
    for a, b in zip(*pairs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-10)


def test_weight_is_the_log_of_one_more_than_the_estimated_rank():
    violates = torch.tensor([[True, True, False, False], [False] * 4, [True] * 4])
    assert rank_weight(violates, 100).tolist() == pytest.approx([math.log(51), 0.0, math.log(101)])
    # Draws that each stand for few items: 1/4 (2 + 4) = 1.5.
    count = torch.tensor([[2.0, 4.0, 8.0, 8.0]]).expand(3, 4)
    assert rank_weight(violates, 100, count)[0].item() == pytest.approx(math.log(2.5))


def test_the_rank_is_estimated_without_bias_by_draws_that_are_not_uniform():
    generator = torch.Generator().manual_seed(0)
    violators = torch.arange(50) % 3 == 0
    q = torch.softmax(torch.randn(50, generator=generator), 0)
    ids = torch.multinomial(q, 200_000, replacement=True, generator=generator)
    rank = rank_weight(violators[ids][None], 50, 1 / q[ids][None]).expm1().item()
    assert rank == pytest.approx(violators.sum().item(), rel=0.02)


def test_no_violation_and_no_rows_are_zero_with_zero_gradients():
    events, items = (
        torch.tensor([[3.0]], requires_grad=True),
        torch.tensor([[1.0], [-1.0]], requires_grad=True),
    )
    target, ids, log_q = torch.tensor([0]), torch.tensor([1, 0]), torch.zeros(2)
    for part in (1, 0):
        loss = warp(events[:part], items, target[:part], ids, log_q, n_items=2)
        assert loss.item() == 0.0
        assert not any(grad.any() for grad in torch.autograd.grad(loss, [events, items]))
