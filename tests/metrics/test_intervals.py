import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from usermodel.metrics import intervals as module
from usermodel.metrics.intervals import bootstrap, intervals, normal
from usermodel.metrics.per_user import PerUser


def reference(total, weight, resamples):
    """scipy draws the same users: the same generator, one row of users a resample."""
    found = stats.bootstrap(
        (total, weight),
        lambda t, w, axis: t.sum(axis) / w.sum(axis),
        paired=True,
        n_resamples=resamples,
        rng=np.random.default_rng(0),
        method="BCa",
        vectorized=True,
    )
    return found.confidence_interval


@pytest.mark.parametrize("n", [2, 5, 40, 700])
@pytest.mark.parametrize("kind", ["mean", "skewed", "weighted"])
def test_equals_scipy(monkeypatch, n, kind):
    monkeypatch.setattr(module, "_COUNTS", 16 * n)
    rng = np.random.default_rng(n)
    values = rng.gamma(0.3, size=n) if kind == "skewed" else rng.normal(size=n)
    # Sums are exact, so that both see the same resamples give the mean itself.
    values = np.round(values * 1024) / 1024
    weight = rng.integers(1, 50, n).astype(float) if kind == "weighted" else np.ones(n)
    low, high = bootstrap([PerUser(values * weight, weight)], resamples=500)[0]
    wanted = reference(values * weight, weight, 500)
    assert (low, high) == pytest.approx((wanted.low, wanted.high), abs=1e-9, rel=1e-9)


def test_hits_equal_scipy_where_many_resamples_give_the_mean_itself():
    hits = (np.arange(30) % 3 == 0).astype(float)
    wanted = reference(hits, np.ones(30), 1000)
    assert bootstrap([PerUser.of(hits)])[0] == pytest.approx((wanted.low, wanted.high), abs=1e-12)


def test_all_metrics_share_the_resamples_and_do_not_disturb_each_other():
    rng = np.random.default_rng(0)
    metrics = [PerUser.of(rng.random(50)) for _ in range(4)]
    together = intervals(metrics)
    for one, metric in zip(together, metrics, strict=True):
        assert one == pytest.approx(intervals([metric])[0], abs=1e-12)
    assert intervals(metrics) == together
    assert bootstrap(metrics, seed=1) != together
    assert intervals([]) == []


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=30), st.sampled_from(["bootstrap", "normal"]))
def test_ends_are_finite_and_around_the_mean(values, kind):
    metric = PerUser.of(np.array(values))
    low, high = intervals([metric], kind)[0]
    assert np.isfinite([low, high]).all()
    assert low <= high
    if kind == "bootstrap":
        assert min(values) - 1e-12 <= low
        assert high <= max(values) + 1e-12


def test_equal_values_leave_no_room():
    for kind in ("bootstrap", "normal"):
        assert intervals([PerUser.of(np.full(9, 0.25))], kind)[0] == (0.25, 0.25)


@pytest.mark.parametrize("kind", ["bootstrap", "normal"])
def test_one_user_has_no_interval(kind):
    assert intervals([PerUser.of(np.array([0.3]))], kind) == [(None, None)]
    alone = PerUser.of(np.array([0.3, 0.0, 0.0]), np.array([True, False, False]))
    assert intervals([alone], kind) == [(None, None)]


def test_resamples_without_a_user_that_counts_are_left_out():
    metric = PerUser.of(np.array([0.2, 0.8, 0.0, 0.0]), np.array([True, True, False, False]))
    low, high = intervals([metric])[0]
    assert 0.2 - 1e-12 <= low < high <= 0.8 + 1e-12


def test_the_normal_interval_is_that_of_the_mean():
    values = np.random.default_rng(0).random(200)
    half = 1.959963984540054 * values.std(ddof=1) / 200**0.5
    assert normal(PerUser.of(values)) == pytest.approx(
        (values.mean() - half, values.mean() + half), abs=1e-12
    )


def test_both_kinds_agree_on_many_users():
    rng = np.random.default_rng(0)
    weight = rng.integers(1, 9, 20_000).astype(float)
    metric = PerUser(rng.random(20_000) * weight, weight)
    (low, high), (least, most) = intervals([metric])[0], intervals([metric], "normal")[0]
    # A thousand resamples place an end within about a twentieth of the width.
    assert [low, high] == pytest.approx([least, most], abs=0.1 * (most - least))


def test_the_interval_holds_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(0)
    trials = [PerUser.of((rng.random(150) < 0.2).astype(float)) for _ in range(200)]
    held = sum(low <= 0.2 <= high for low, high in (bootstrap([one], resamples=400)[0] for one in trials))
    assert 182 <= held <= 198
