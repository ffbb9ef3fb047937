"""Metrics of ordered classes and of numbers, beside scikit-learn; intervals beside a bootstrap."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, mean_absolute_error, mean_squared_error, r2_score

from usermodel.metrics import levels, numbers


def some(seed=0, n=400):
    rng = np.random.default_rng(seed)
    truth = rng.normal(3, 2, n)
    return truth + rng.normal(0.3, 1.5, n), truth


def test_numbers_equal_scikit_learn():
    guess, truth = some()
    found = {name: one.value for name, one in numbers.measure(guess, truth).items()}
    assert found["r2"] == pytest.approx(r2_score(truth, guess))
    assert found["mae"] == pytest.approx(mean_absolute_error(truth, guess))
    assert found["rmse"] == pytest.approx(mean_squared_error(truth, guess) ** 0.5)
    assert list(found) == list(numbers.DEFINITIONS)


def test_kappa_equals_scikit_learn():
    guess, truth = (np.clip(np.round(one), 0, 6).astype(int) for one in some())
    found = levels.measure(guess, truth)
    assert found["kappa"].value == pytest.approx(cohen_kappa_score(truth, guess, weights="quadratic"))
    assert found["levels_off"].value == pytest.approx(np.abs(guess - truth).mean())
    assert list(found) == list(levels.DEFINITIONS)


@pytest.mark.parametrize("metric", ["r2", "kappa"])
def test_intervals_are_those_of_a_bootstrap(metric):
    guess, truth = some(1, 600)
    if metric == "kappa":
        guess, truth = (np.clip(np.round(one), 0, 6).astype(int) for one in (guess, truth))
    measure = {"r2": numbers.r2, "kappa": levels.kappa}[metric]
    rng = np.random.default_rng(0)
    drawn = [measure(guess[rows], truth[rows]).value for rows in rng.integers(0, 600, (2000, 600))]
    low, high = measure(guess, truth).interval()
    assert abs(measure(guess, truth).influence.mean()) < 1e-12
    assert (high - low) / 2 == pytest.approx(1.96 * np.std(drawn), rel=0.1)


def test_constants():
    truth = np.array([1.0, 2.0, 6.0])
    assert numbers.r2(np.full(3, 3.0), truth).value == 0
    assert numbers.r2(truth, truth).value == 1
    assert numbers.r2(truth, np.ones(3)).interval() == (None, None)
    assert levels.kappa(np.ones(3, dtype=int), np.ones(3, dtype=int)).value == 0
    assert levels.kappa(np.array([0, 1, 2]), np.array([0, 1, 2])).value == 1
