"""Sampled softmax against the formula, draw by draw, and against the full softmax it estimates."""

import itertools
import math

import pytest
import torch

from usermodel.losses import positive_and_negatives
from usermodel.losses.sampled import sampled_softmax
from usermodel.losses.softmax import full_softmax

ROWS, CLASSES, DIM, N = 13, 9, 4, 6


def inputs(shared: bool, n: int = N, rows: int = ROWS):
    generator = torch.Generator().manual_seed(rows + n)
    events = torch.randn(rows, DIM, dtype=torch.float64, generator=generator).requires_grad_()
    items = torch.randn(CLASSES, DIM, dtype=torch.float64, generator=generator).requires_grad_()
    target = torch.randint(CLASSES, (rows,), generator=generator)
    q = torch.softmax(torch.randn(CLASSES, dtype=torch.float64, generator=generator), 0)
    draws = n if shared else rows * n
    ids = torch.multinomial(q, draws, replacement=True, generator=generator)
    ids = ids if shared else ids.view(rows, n)
    return events, items, target, ids, q


def naive(events, items, target, ids, log_q, weight):
    """One row, one draw at a time."""
    losses = []
    for row in range(len(events)):
        drawn, logs, weights = (x if x.dim() == 1 else x[row] for x in (ids, log_q, weight))
        positive = (events[row] @ items[target[row]]).exp()
        z = positive
        for i, log, w in zip(drawn, logs, weights, strict=True):
            if i != target[row]:
                z = z + w * (events[row] @ items[i]).exp() / log.exp() / len(drawn)
        losses.append(-(positive / z).log())
    return torch.stack(losses).mean()


def gradients(loss, *of):
    return torch.autograd.grad(loss, of)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("numbers", [1, 30, 1 << 20])
def test_value_and_gradients_equal_the_formula_for_every_chunk_size(monkeypatch, shared, numbers):
    monkeypatch.setattr(positive_and_negatives, "CHUNK_NUMBERS", numbers)
    events, items, target, ids, q = inputs(shared)
    assert bool((ids == target[0]).any() if shared else (ids == target[:, None]).any())  # accidental hits
    weight = torch.linspace(0.5, 2.0, ids.numel(), dtype=torch.float64).view(ids.shape)
    for given in (None, weight):
        ours = sampled_softmax(events, items, target, ids, q.log()[ids], given)
        theirs = naive(
            events, items, target, ids, q.log()[ids], torch.ones_like(weight) if given is None else given
        )
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)
        for a, b in zip(gradients(ours, events, items), gradients(theirs, events, items), strict=True):
            torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("shared", [True, False])
def test_gradcheck(shared):
    events, items, target, ids, q = inputs(shared, n=3, rows=4)
    assert torch.autograd.gradcheck(
        lambda e, i: sampled_softmax(e, i, target, ids, q.log()[ids]), [events, items]
    )


@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_partition_function_is_estimated_without_bias(n):
    """Over all possible draws, each with its probability, the estimate is the sum over the catalogue exactly."""
    generator = torch.Generator().manual_seed(n)
    classes = 4
    events = torch.randn(1, DIM, dtype=torch.float64, generator=generator)
    items = torch.randn(classes, DIM, dtype=torch.float64, generator=generator)
    q = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    scores = (events @ items.T)[0]
    for target in range(classes):
        mean = 0.0
        for ids in itertools.product(range(classes), repeat=n):
            drawn = torch.tensor(ids)
            loss = sampled_softmax(events, items, torch.tensor([target]), drawn, q.log()[drawn])
            z = math.exp(loss.item() + scores[target].item())
            mean += math.prod(q[drawn].tolist()) * z
        assert mean == pytest.approx(scores.exp().sum().item(), rel=1e-12)


def distance_to_full(n: int, corrected: bool) -> float:
    """Relative error of the item gradient, averaged over draws from a distribution far from uniform."""
    events, items, target, _, _ = inputs(shared=True)
    q = torch.softmax(torch.linspace(-2, 2, CLASSES, dtype=torch.float64), 0)
    log_q = q.log() if corrected else torch.full_like(q, -math.log(CLASSES))
    (full,) = gradients(full_softmax(events, items, target), items)
    errors = []
    for seed in range(10):
        ids = torch.multinomial(q, n, replacement=True, generator=torch.Generator().manual_seed(seed))
        (ours,) = gradients(sampled_softmax(events, items, target, ids, log_q[ids]), items)
        errors.append(((ours - full).norm() / full.norm()).item())
    return sum(errors) / len(errors)


def test_the_gradient_converges_to_the_full_softmaxs():
    errors = [distance_to_full(n, corrected=True) for n in (20, 500, 12_500)]
    # 25 times the draws, a fifth of the error.
    assert errors[1] < errors[0] / 3
    assert errors[2] < errors[1] / 3
    assert errors[2] < 0.02


def test_without_the_correction_it_does_not():
    assert distance_to_full(12_500, corrected=False) > 0.2


def test_every_class_drawn_once_under_uniform_q_is_the_full_softmax():
    """V draws that hit each class once: the target's own draw is masked, so the sum has V terms and not V + 1."""
    events, items, target, _, _ = inputs(shared=True)
    log_q = torch.full((CLASSES,), -math.log(CLASSES), dtype=torch.float64)
    ours = sampled_softmax(events, items, target, torch.arange(CLASSES), log_q)
    torch.testing.assert_close(ours, full_softmax(events, items, target), rtol=1e-12, atol=0)


@pytest.mark.parametrize("shared", [True, False])
def test_only_hits_is_no_loss(shared):
    """One draw, and it is the target: nothing is left to tell it from."""
    events, items, _, _, _ = inputs(shared)
    target = torch.zeros(ROWS, dtype=torch.int64)
    ids = torch.zeros((1,) if shared else (ROWS, 1), dtype=torch.int64)
    loss = sampled_softmax(events, items, target, ids, torch.zeros(ids.shape, dtype=torch.float64))
    assert loss.item() == 0.0
    assert not any(g.any() for g in gradients(loss, events, items))


@pytest.mark.parametrize("shared", [True, False])
def test_no_rows_is_zero_with_zero_gradients(shared):
    events, items, target, ids, q = inputs(shared)
    events, ids = events[:0].detach().requires_grad_(), ids if shared else ids[:0]
    loss = sampled_softmax(events, items, target[:0], ids, q.log()[ids])
    assert loss.item() == 0.0
    assert not any(g.any() for g in gradients(loss, events, items))


def test_huge_scores_do_not_overflow():
    events, items, target, ids, q = inputs(shared=True)
    events = (1e6 * events.detach()).float().requires_grad_()
    items = items.detach().float().requires_grad_()
    loss = sampled_softmax(events, items, target, ids, q.log().float()[ids])
    assert bool(loss.isfinite())
    assert all(bool(g.isfinite().all()) for g in gradients(loss, events, items))


@pytest.mark.parametrize("shared", [True, False])
def test_bfloat16_autocast_is_within_two_percent(shared):
    events, items, target, ids, q = inputs(shared)
    events, items = (x.detach().float().requires_grad_() for x in (events, items))
    theirs = sampled_softmax(events, items, target, ids, q.log().float()[ids])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = sampled_softmax(events, items, target, ids, q.log().float()[ids])
    torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=0)
    for a, b in zip(gradients(ours, events, items), gradients(theirs, events, items), strict=True):
        assert a.dtype == torch.float32
        assert float((a - b).norm() / b.norm()) < 2e-2
