"""BCE and gBCE against the formula, score by score."""

import math

import pytest
import torch

from usermodel.losses import positive_and_negatives
from usermodel.losses.binary import binary_cross_entropy, gbce_beta, prior_log_odds

ROWS, CLASSES, DIM, N = 11, 8, 4, 5


def inputs(shared: bool, scale: float = 1.0):
    generator = torch.Generator().manual_seed(1)
    events = scale * torch.randn(ROWS, DIM, dtype=torch.float64, generator=generator)
    items = torch.randn(CLASSES, DIM, dtype=torch.float64, generator=generator)
    target = torch.randint(CLASSES, (ROWS,), generator=generator)
    ids = torch.randint(CLASSES, (N,) if shared else (ROWS, N), generator=generator)
    return events.requires_grad_(), items.requires_grad_(), target, ids


def naive(events, items, target, ids, weight, beta):
    losses = []
    for row in range(len(events)):
        drawn, weights = (x if x.dim() == 1 else x[row] for x in (ids, weight))
        loss = -(torch.sigmoid(events[row] @ items[target[row]]) ** beta).log()
        for i, w in zip(drawn, weights, strict=True):
            if i != target[row]:
                loss = loss - w * (1 - torch.sigmoid(events[row] @ items[i])).log()
        losses.append(loss / (len(drawn) + 1))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("beta", [1.0, 0.3])
@pytest.mark.parametrize("numbers", [1, 30, 1 << 20])
def test_value_and_gradients_equal_the_formula_for_every_chunk_size(monkeypatch, shared, beta, numbers):
    monkeypatch.setattr(positive_and_negatives, "CHUNK_NUMBERS", numbers)
    events, items, target, ids = inputs(shared)
    assert bool((ids == target[:, None]).any())  # accidental hits
    ones = torch.ones(ids.shape, dtype=torch.float64)
    for given in (None, torch.linspace(0.0, 2.0, ids.numel(), dtype=torch.float64).view(ids.shape)):
        ours = binary_cross_entropy(events, items, target, ids, given, beta=beta)
        theirs = naive(events, items, target, ids, ones if given is None else given, beta)
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)
        pairs = (torch.autograd.grad(loss, [events, items]) for loss in (ours, theirs))
        for a, b in zip(*pairs, strict=True):
            torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-10)


def test_one_negative_is_sasrecs_loss_but_for_the_mean_of_two():
    events, items = torch.tensor([[2.0]]), torch.tensor([[1.0], [-0.5]])
    loss = binary_cross_entropy(events, items, torch.tensor([0]), torch.tensor([1]))
    by_hand = -(math.log(1 / (1 + math.exp(-2))) + math.log(1 - 1 / (1 + math.exp(1)))) / 2
    assert loss.item() == pytest.approx(by_hand, rel=1e-6)


@pytest.mark.parametrize("scale", [1e3, 1e6])
def test_a_power_of_a_vanishing_sigmoid_stays_finite(scale):
    """sigmoid(-1e6)^beta is 0 in any precision, and its logarithm is not infinite but about -beta 1e6."""
    events, items = torch.tensor([[-scale]]).requires_grad_(), torch.tensor([[1.0], [-1.0]]).requires_grad_()
    loss = binary_cross_entropy(events, items, torch.tensor([0]), torch.tensor([1]), beta=0.25)
    assert loss.item() == pytest.approx((0.25 * scale + scale) / 2, rel=1e-6)
    grad_events, grad_items = torch.autograd.grad(loss, [events, items])
    assert grad_events.item() == pytest.approx((-0.25 - 1) / 2)
    assert grad_items.flatten().tolist() == pytest.approx([0.25 * scale / 2, -scale / 2])


@pytest.mark.parametrize("shared", [True, False])
def test_no_rows_is_zero_with_zero_gradients(shared):
    events, items, target, ids = inputs(shared)
    events = events[:0].detach().requires_grad_()
    loss = binary_cross_entropy(events, items, target[:0], ids if shared else ids[:0])
    assert loss.item() == 0.0
    assert not any(g.any() for g in torch.autograd.grad(loss, [events, items]))


def test_a_score_that_is_added_to_all_is_as_if_all_scores_were_higher():
    events, items, target, ids = inputs(shared=False)
    ones = torch.ones(ids.shape, dtype=torch.float64)
    # One more number of each vector, whose product is the shift.
    wide = torch.cat([events, torch.full_like(events[:, :1], -1.7)], 1)
    known = torch.cat([items, torch.ones_like(items[:, :1])], 1)
    ours = binary_cross_entropy(events, items, target, ids, None, beta=0.3, log_odds=-1.7)
    torch.testing.assert_close(ours, naive(wide, known, target, ids, ones, 0.3), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(("n", "beta"), [(1, 1.0), (16, 1.0), (256, 0.3)])
def test_scores_of_zero_are_where_one_score_for_all_is_best(n, beta):
    """Equal vectors with scores of 0 have a loss that no common score lowers; without a prior it falls at once."""
    target, ids = torch.zeros(3, dtype=torch.int64), torch.arange(1, n + 1)
    events, items = torch.ones(3, 1, dtype=torch.float64), torch.ones(n + 1, 1, dtype=torch.float64)

    def slope(log_odds):
        score = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        loss = binary_cross_entropy(events, items * score, target, ids, beta=beta, log_odds=log_odds)
        return torch.autograd.grad(loss, score)[0].item()

    assert slope(prior_log_odds(n, beta)) == pytest.approx(0, abs=1e-12)
    assert slope(0.0) == pytest.approx((n - beta) / 2 / (n + 1))
    assert prior_log_odds(1) == prior_log_odds(0) == prior_log_odds(0, 0.0) == 0


def test_beta_by_hand():
    """256 of 3,415 others: alpha = 0.07496; t = 0.75 gives alpha (t (1 - 1/alpha) + 1/alpha) = 0.30622."""
    alpha = 256 / 3_415
    assert gbce_beta(256, 3_416, 0.75) == pytest.approx(alpha * (0.75 * (1 - 1 / alpha) + 1 / alpha))
    assert gbce_beta(256, 3_416, 0.75) == pytest.approx(0.30622, abs=1e-5)
    assert gbce_beta(256, 3_416, 0.0) == 1.0
    assert gbce_beta(256, 3_416, 1.0) == pytest.approx(alpha)
    assert gbce_beta(500, 100, 1.0) == 1.0  # more draws than items: nothing to calibrate
    assert gbce_beta(1, 1, 1.0) == 1.0


def test_full_calibration_makes_the_sigmoid_the_true_probability():
    """What gBCE with t = 1 is for (section 5 of the paper): each of 4 items the next one with its own probability.

    The scores that minimise the expected loss, all other items negatives, have sigmoids equal to these probabilities.
    """
    truth = torch.tensor([0.5, 0.25, 0.15, 0.1], dtype=torch.float64)
    scores = torch.zeros(4, 1, dtype=torch.float64, requires_grad=True)
    beta = gbce_beta(1, 4, 1.0)
    one = torch.ones(1, 1, dtype=torch.float64)
    optimiser = torch.optim.LBFGS([scores], max_iter=100, line_search_fn="strong_wolfe")

    def expected_loss():
        optimiser.zero_grad()
        terms = [
            truth[target]
            / 3
            * binary_cross_entropy(one, scores, torch.tensor([target]), torch.tensor([other]), beta=beta)
            for target in range(4)
            for other in range(4)
            if other != target
        ]
        loss = torch.stack(terms).sum()
        loss.backward()
        return loss

    for _ in range(5):
        optimiser.step(expected_loss)
    torch.testing.assert_close(scores.detach().sigmoid().flatten(), truth, atol=1e-4, rtol=0)
