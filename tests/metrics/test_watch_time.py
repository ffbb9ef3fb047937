"""Watch-time metrics against every pair, scipy and by hand; the tie rule; intervals against resampled users."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import somersd

from usermodel.metrics.estimate import Estimate
from usermodel.metrics.pair_order import pair_counts
from usermodel.metrics.watch_time import DEFINITIONS, duration_parts, measure, xauc


def every_pair(label, score):
    """Concordant and comparable rows for each row, by the definition."""
    dy, dp = (np.sign(one[:, None] - one) for one in (label, score))
    return (((dy * dp > 0) + 0.5 * ((dp == 0) & (dy != 0))).sum(1)), (dy != 0).sum(1)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40))
@settings(max_examples=200, deadline=None)
def test_counts_equal_every_pair(rows):
    label, score = np.array(rows, dtype=float).T
    found, wanted = pair_counts(label, score), every_pair(label, score)
    np.testing.assert_array_equal(found.concordant, wanted[0])
    np.testing.assert_array_equal(found.comparable, wanted[1])


@pytest.mark.parametrize("levels", [5, 1000])
def test_xauc_is_somers_d(levels):
    rng = np.random.default_rng(0)
    label = rng.integers(0, levels, 300).astype(float)
    guess = np.round(label / levels * 10 + rng.normal(size=300), 1)
    assert xauc(guess, label).value == pytest.approx((somersd(label, guess).statistic + 1) / 2, abs=1e-12)


def test_constant_guesses_are_at_chance_and_perfect_ones_perfect():
    label = np.array([0.0, 0, 1, 1, 2, 2, 2, 7])
    assert xauc(np.full(8, 3.0), label).value == 0.5
    assert xauc(label * 10 - 3, label).value == 1.0
    assert xauc(-label, label).value == 0.0
    assert xauc(label, np.full(8, 3.0)).value == 0.5


def test_by_hand():
    """Labels 1, 2, 4, 9; guesses 2, 2, 3, 5: errors 1, 0, -1, -4. Of six pairs five are in order and one is tied."""
    guess, label = np.array([2.0, 2, 3, 5]), np.array([1.0, 2, 4, 9])
    found = {name: one.value for name, one in measure(guess, label).items()}
    assert list(found) == list(DEFINITIONS)
    assert found["mae"] == 1.5
    assert found["rmse"] == pytest.approx(4.5**0.5)
    assert found["xauc"] == pytest.approx(5.5 / 6)
    assert found["bias"] == pytest.approx(-4 / 16)
    # Parts: both guesses of 2 (mean label 1.5), 3, 5.
    assert found["quantile_calibration"] == pytest.approx((2 * 0.5 + 1 + 4) / 16)


def test_labels_of_zero_and_one_row():
    found = measure(np.array([1.0, 2.0]), np.zeros(2))
    assert {name: one.value for name, one in found.items()} == {
        "mae": 1.5,
        "rmse": 2.5**0.5,
        "xauc": 0.5,
        "bias": 0.0,
        "quantile_calibration": 0.0,
    }
    assert all(one.interval() == (None, None) for one in measure(np.ones(1), np.ones(1)).values())


@pytest.mark.parametrize("name", ["mae", "rmse", "xauc", "bias"])
def test_intervals_over_users_are_those_of_resampled_users(name):
    """Rows of a user share a shift: intervals that took rows for independent would be too short."""
    rng = np.random.default_rng(1)
    user = np.repeat(np.arange(150), 6)
    label = np.exp(rng.normal(size=900))
    guess = label * np.exp(rng.normal(size=150)[user]) + rng.normal(size=900)
    one = measure(guess, label)[name]
    low, high = one.interval(user)
    resampled = []
    for _ in range(300):
        drawn = rng.integers(0, 150, 150)
        rows = (drawn[:, None] * 6 + np.arange(6)).ravel()
        resampled.append(measure(guess[rows], label[rows])[name].value)
    assert (high - low) / 2 == pytest.approx(1.96 * np.std(resampled), rel=0.2)
    alone = one.interval()
    assert high - low > 1.05 * (alone[1] - alone[0])


def test_groups_of_one_row_are_rows():
    one = Estimate(0.0, np.array([1.0, -2.0, 1.0]))
    assert one.interval(np.array([0, 5, 2])) == pytest.approx(one.interval())
    assert one.interval(np.zeros(3, dtype=int)) == (None, None)


def test_parts_by_duration():
    duration = np.array([5.0, 0, 10, 10, 20, 40, np.nan, 5])
    parts = duration_parts(duration, 3)
    assert [(name, rows.tolist()) for name, rows in parts] == [
        ("5 to 5 s", [0, 7]),
        ("10 to 10 s", [2, 3]),
        ("20 to 40 s", [4, 5]),
    ]
    assert duration_parts(np.zeros(3)) == []
