"""Rel-MF's loss by hand, and its promise: right in expectation over exposure, where the naive loss is not."""

import math

import pytest
import torch

from usermodel.losses.relevance import relevance_loss


def by_hand(score, clicked, theta, clip, kind, weights):
    total = 0.0
    for x, y, t, w in zip(score, clicked, theta, weights, strict=True):
        p, share = 1 / (1 + math.exp(-x)), y / max(t, clip)
        one, zero = ((1 - p) ** 2, p**2) if kind == "squared" else (-math.log(p), -math.log(1 - p))
        total += w * (share * one + (1 - share) * zero)
    return total / len(score)


SCORE, CLICKED, THETA = [0.3, -1.2, 2.0, 0.0], [True, False, True, False], [0.5, 0.1, 0.02, 0.9]


@pytest.mark.parametrize("kind", ["squared", "log"])
@pytest.mark.parametrize(
    ("clip", "weights"), [(0.0, [1.0] * 4), (0.1, [1.0] * 4), (0.0, [0.3, 0.0, 2.0, 1.0])]
)
def test_value_by_hand(kind, clip, weights):
    score, theta = torch.tensor(SCORE, dtype=torch.float64), torch.tensor(THETA, dtype=torch.float64)
    weight = torch.tensor(weights, dtype=torch.float64)
    loss = relevance_loss(score, torch.tensor(CLICKED), theta, weight, clip=clip, point_loss=kind)
    assert loss.item() == pytest.approx(by_hand(SCORE, CLICKED, THETA, clip, kind, weights), rel=1e-12)


@pytest.mark.parametrize("kind", ["squared", "log"])
def test_gradient_by_finite_differences(kind):
    score = torch.tensor(SCORE, dtype=torch.float64, requires_grad=True)
    theta = torch.tensor(THETA, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda x: relevance_loss(x, torch.tensor(CLICKED), theta, clip=0.05, point_loss=kind), [score]
    )


def test_wmf_is_the_case_of_propensity_one():
    score, clicked = torch.tensor(SCORE), torch.tensor(CLICKED)
    weight = torch.where(clicked, 1.0, 0.2)
    wmf = relevance_loss(score, clicked, weight=weight)
    p = torch.sigmoid(score)
    wanted = torch.where(clicked, (1 - p) ** 2, 0.2 * p**2).mean()
    torch.testing.assert_close(wmf, wanted)
    torch.testing.assert_close(wmf, relevance_loss(score, clicked, torch.ones(4), weight))


def test_it_may_be_negative_unless_told_otherwise():
    """A click with theta = 0.02 counts as 50 relevant rows and minus 49 others: 50 * 0.0142 - 49 * 0.776 < 0."""
    score, clicked, theta = (
        torch.tensor([2.0], requires_grad=True),
        torch.tensor([True]),
        torch.tensor([0.02]),
    )
    loss = relevance_loss(score, clicked, theta)
    p = 1 / (1 + math.exp(-2.0))
    assert loss.item() == pytest.approx(50 * (1 - p) ** 2 - 49 * p**2, rel=1e-5)
    assert loss.item() < 0
    cut = relevance_loss(score, clicked, theta, non_negative=True)
    assert cut.item() == pytest.approx(50 * (1 - p) ** 2, rel=1e-5)
    (grad,) = torch.autograd.grad(cut, [score])
    assert grad.item() == pytest.approx(-2 * 50 * (1 - p) * p * (1 - p), rel=1e-5)


def test_where_the_parts_are_positive_the_switch_changes_nothing():
    score, clicked, theta = torch.tensor(SCORE), torch.tensor(CLICKED), torch.tensor([0.9, 0.5, 0.8, 0.5])
    args = (score, clicked, theta)
    torch.testing.assert_close(relevance_loss(*args, non_negative=True), relevance_loss(*args))


def test_no_row_is_zero_with_zero_gradient():
    score = torch.zeros(0, requires_grad=True)
    loss = relevance_loss(score, torch.zeros(0, dtype=torch.bool), torch.zeros(0))
    assert loss.item() == 0.0
    torch.autograd.grad(loss, [score])


def test_a_propensity_rounded_to_zero_gives_a_number():
    clicked, theta = torch.tensor([False, False]), torch.tensor([0.0, 0.5])
    assert float(relevance_loss(torch.zeros(2), clicked, theta)) == 0.25


def test_over_draws_of_exposure_it_is_unbiased_and_clipping_trades_bias_for_variance():
    """Planted world: 40 x 30 pairs with relevance gamma and exposure theta; the ideal loss has gamma in the place of y / theta."""
    generator = torch.Generator().manual_seed(0)
    shape, draws = (40, 30), 200
    gamma = torch.rand(shape, dtype=torch.float64, generator=generator)
    theta = (
        (torch.rand(shape[1], dtype=torch.float64, generator=generator) ** 2).clamp(min=0.02).expand(shape)
    )
    score = torch.randn(shape, dtype=torch.float64, generator=generator) - 1
    p = torch.sigmoid(score)
    ideal = (gamma * (1 - p) ** 2 + (1 - gamma) * p**2).mean().item()
    losses = {"naive": [], 0.0: [], 0.05: [], 0.2: [], 0.5: []}
    for _ in range(draws):
        clicked = torch.rand(shape, dtype=torch.float64, generator=generator) < gamma * theta
        losses["naive"].append(relevance_loss(score, clicked))
        for clip in (0.0, 0.05, 0.2, 0.5):
            losses[clip].append(relevance_loss(score, clicked, theta, clip=clip))
    drawn = {name: torch.stack(values) for name, values in losses.items()}
    error = {name: (values.std() / draws**0.5).item() for name, values in drawn.items()}
    bias = {name: values.mean().item() - ideal for name, values in drawn.items()}
    assert abs(bias[0.0]) < 2 * error[0.0]
    assert abs(bias["naive"]) > 10 * error["naive"]
    spread = [drawn[clip].var().item() for clip in (0.0, 0.05, 0.2, 0.5)]
    assert spread == sorted(spread, reverse=True)
    assert abs(bias[0.5]) > 2 * error[0.5]
