import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from usermodel.metrics import intervals as module
from usermodel.metrics.intervals import bootstrap, draw_counts, intervals, normal
from usermodel.metrics.per_user import PerUser


class Replay(np.random.Generator):
    """Draws the users that were drawn before: `counts` says how often each one, in each resample."""

    def __init__(self, counts):
        super().__init__(np.random.PCG64(0))
        self.rows = iter([np.repeat(np.arange(len(row)), row) for row in counts])

    def integers(self, low, high=None, size=None, **_):
        return np.stack([next(self.rows) for _ in range(size[0])])


def both(monkeypatch, total, weight, resamples):
    """Our interval, and that of scipy from the same resamples."""
    drawn = {}

    def record(rng, of_bits, out):
        draw_counts(rng, of_bits, out)
        drawn[rng.bit_generator.seed_seq.spawn_key] = out.astype(int)

    monkeypatch.setattr(module, "draw_counts", record)
    ours = bootstrap([PerUser(total, weight)], resamples=resamples)[0]
    theirs = stats.bootstrap(
        (total, weight),
        lambda t, w, axis: t.sum(axis) / w.sum(axis),
        paired=True,
        n_resamples=resamples,
        rng=Replay(np.concatenate([drawn[key] for key in sorted(drawn)])),
        method="BCa",
        vectorized=True,
    ).confidence_interval
    return ours, (theirs.low, theirs.high)


@pytest.mark.parametrize("n", [2, 5, 40, 700])
@pytest.mark.parametrize("kind", ["mean", "skewed", "weighted"])
def test_equals_scipy(monkeypatch, n, kind):
    monkeypatch.setattr(module, "_COUNTS", 16 * n)
    rng = np.random.default_rng(n)
    values = rng.gamma(0.3, size=n) if kind == "skewed" else rng.normal(size=n)
    # Sums are exact, so that both see the same resamples give the mean itself.
    values = np.round(values * 1024) / 1024
    weight = rng.integers(1, 50, n).astype(float) if kind == "weighted" else np.ones(n)
    ours, theirs = both(monkeypatch, values * weight, weight, 500)
    assert ours == pytest.approx(theirs, abs=1e-9, rel=1e-9)


def test_hits_equal_scipy_where_many_resamples_give_the_mean_itself(monkeypatch):
    hits = (np.arange(30) % 3 == 0).astype(float)
    ours, theirs = both(monkeypatch, hits, np.ones(30), 1000)
    assert ours == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("users", [1, 2, 7, 26, 300, 5000])
def test_every_resample_has_as_many_users_drawn_with_replacement(users):
    n = 200_000 // users
    counts = np.empty((n, users))
    draw_counts(np.random.default_rng(users), module._counts_of_bits(users), counts)
    assert (counts.sum(1) == users).all()
    # How often a user is drawn: binomial.
    most = 6 if users > 6 else users
    seen = np.array([*(np.count_nonzero(counts == k) for k in range(most)), np.count_nonzero(counts >= most)])
    wanted = stats.binom.pmf(np.arange(most), users, 1 / users)
    wanted = np.append(wanted, 1 - wanted.sum()) * counts.size
    if users > 1:
        # Counts of a resample depend on each other: less than chance, so that the test is a cautious one.
        assert stats.chisquare(seen, wanted, sum_check=False).pvalue > 0.001
    # And no user more often than another.
    by_user = counts.sum(0)[:1000]
    assert abs(by_user - n).max() < 6 * n**0.5


def test_two_users_are_drawn_together_as_often_as_chance_says():
    counts = np.empty((40_000, 30))
    draw_counts(np.random.default_rng(0), module._counts_of_bits(30), counts)
    # Multinomial: -1 / (users - 1) between any two.
    apart = np.corrcoef(counts.T)[np.triu_indices(30, 1)]
    assert apart.mean() == pytest.approx(-1 / 29, abs=0.001)


def test_totals_above_the_number_of_users_are_drawn_anew(monkeypatch):
    monkeypatch.setattr(module, "_SHORT", 0.5)
    counts = np.empty((4000, 50))
    draw_counts(np.random.default_rng(0), module._counts_of_bits(50), counts)
    assert (counts.sum(1) == 50).all()
    assert counts.var() == pytest.approx(1 - 1 / 50, abs=0.02)


def test_the_resamples_are_the_same_whatever_the_number_of_threads(monkeypatch):
    monkeypatch.setattr(module, "_COUNTS", 500)
    metric = PerUser.of(np.random.default_rng(0).random(50))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found += intervals([metric])
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1]


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
