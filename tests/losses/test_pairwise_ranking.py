"""AdaptSSR's loss against the numbers of its released function, and against a loop over users."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from usermodel.losses.pairwise_ranking import RankingOptions, pairwise_ranking


def at(*degrees):
    angles = torch.tensor(degrees, dtype=torch.float64) * math.pi / 180
    return torch.stack([angles.cos(), angles.sin()], dim=1)


#: a, p, s, t of two users.
FIXTURE = torch.stack([at(0, 90), at(10, 100), at(30, 70), at(40, 80)])


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_the_numbers_of_the_released_function(scale):
    """Measured with the official code on these angles."""
    found = pairwise_ranking(FIXTURE * scale)
    assert found.loss.item() == pytest.approx(0.606176, abs=5e-7)
    assert found.weight.item() == pytest.approx((0.110857 + 0.097141) / 2, abs=1e-6)


def test_the_counters_of_the_released_function():
    """3.5 of 4 and 15.5 of 16 there. One pair is a tie, which rounding decides here: it is moved off by a millionth."""
    views = torch.stack([*FIXTURE[:3], at(40, 80.000001)])
    found = pairwise_ranking(views)
    assert found.implicit_first.item() == pytest.approx(3.5 / 4)
    assert found.explicit_first.item() == pytest.approx(15.5 / 16)


def by_loop(views, options):
    """Both anchors, user by user."""
    unit = [[[x / math.hypot(*v) for x in v] for v in view] for view in views.tolist()]
    n = len(unit[0])

    def cos(i, u, j, w):
        return sum(x * y for x, y in zip(unit[i][u], unit[j][w], strict=True))

    total, weights = 0.0, []
    for anchor, implicit, explicit in ((0, 1, (2, 3)), (2, 3, (0, 1))):
        near = [[cos(anchor, u, e, u) for e in explicit] for u in range(n)]
        overall = sum(map(sum, near)) / (2 * n)
        for u in range(n):
            others = [cos(anchor, u, view, w) for view in range(4) for w in range(n) if w != u]
            t = options.smoothing
            highest = max if t is None else lambda x, t=t: t * math.log(sum(math.exp(s / t) for s in x))
            pick = (max, min, highest) if options.hard_negatives else (lambda x: sum(x) / len(x),) * 3
            first = cos(anchor, u, implicit, u) - pick[0](near[u])
            second = pick[1](near[u]) - pick[2](others) if others else 0.0
            if options.constraints != "both":
                weight = float(options.constraints == "implicit")
            elif options.fusion == "sample":
                weight = 1 - sum(near[u]) / 2
            else:
                weight = 1 - overall if options.fusion == "batch" else options.fusion
            weights.append(weight)
            total += math.log1p(math.exp(-(weight * first + (1 - weight) * second)))
    return total / (2 * n), sum(weights) / len(weights)


OPTIONS = [
    RankingOptions(),
    RankingOptions(fusion="sample"),
    RankingOptions(fusion=0.5),
    RankingOptions(hard_negatives=False),
    RankingOptions(constraints="implicit"),
    RankingOptions(smoothing=0.2),
    RankingOptions(constraints="explicit", hard_negatives=False),
]


@pytest.mark.parametrize("options", OPTIONS, ids=repr)
@given(users=st.integers(1, 5), seed=st.integers(0, 99))
def test_equals_a_loop_over_users(options, users, seed):
    views = torch.randn(4, users, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = pairwise_ranking(views, options)
    loss, weight = by_loop(views, options)
    assert found.loss.item() == pytest.approx(loss, rel=1e-10)
    assert found.weight.item() == pytest.approx(weight, rel=1e-10)


def test_the_weight_has_no_gradient():
    """Moving an explicit view along the anchor changes the weight; only the differences may answer."""
    views = FIXTURE.clone().requires_grad_()
    pairwise_ranking(views, RankingOptions(fusion="batch")).loss.backward()
    fixed = FIXTURE.clone().requires_grad_()
    a = pairwise_ranking(fixed, RankingOptions(fusion=0.110857)).loss
    s = pairwise_ranking(fixed, RankingOptions(fusion=0.097141)).loss
    ((a + s) / 2).backward()
    torch.testing.assert_close(views.grad, fixed.grad, atol=2e-2, rtol=2e-2)
    assert not pairwise_ranking(views).weight.requires_grad


def test_only_the_hardest_pairs_have_a_gradient():
    torch.manual_seed(0)
    views = torch.randn(4, 6, 8, dtype=torch.float64, requires_grad=True)
    pairwise_ranking(views, RankingOptions(constraints="implicit")).loss.backward()
    touched = views.grad.abs().sum(2) > 0
    # Anchor and implicit view always; of the two explicit ones only the nearer to either anchor.
    assert touched[0].all()
    assert touched[2].all()
    everyone = torch.randn(4, 6, 8, dtype=torch.float64, requires_grad=True)
    pairwise_ranking(everyone, RankingOptions(constraints="implicit", hard_negatives=False)).loss.backward()
    assert (everyone.grad.abs().sum(2) > 0).all()


@pytest.mark.parametrize("users", [0, 1])
def test_without_other_users_it_is_finite(users):
    views = torch.randn(4, users, 5, requires_grad=True)
    found = pairwise_ranking(views)
    found.loss.backward()
    for value in (found.loss, found.weight, found.implicit_first, found.explicit_first, views.grad.sum()):
        assert torch.isfinite(value)
