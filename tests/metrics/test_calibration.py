"""Calibration of scores that exaggerate."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression

from usermodel.metrics.calibration import fit_calibration
from usermodel.metrics.ctr import ece


@pytest.mark.parametrize("kind", ["platt", "isotonic"])
def test_scores_that_exaggerate_are_put_right(kind):
    rng = np.random.default_rng(0)
    z = rng.normal(size=4000)
    clicked = rng.random(4000) < expit(z)
    said, happened, other = 3 * z[:2000] + 1, clicked[:2000], 3 * z[2000:] + 1
    raw = fit_calibration("none", said, happened).probability(other)
    found = fit_calibration(kind, said, happened).probability(other)
    assert ece(raw, clicked[2000:]).value > 0.1
    assert ece(found, clicked[2000:]).value < 0.04
    order = np.argsort(other)
    assert (np.diff(found[order]) >= 0).all()


def test_platt_finds_slope_and_shift():
    """Scores 3 z + 1 of log-odds z: slope 1/3, shift -1/3."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=200_000)
    clicked = rng.random(len(z)) < expit(z)
    ((slope, shift),) = fit_calibration("platt", 3 * z + 1, clicked).weights
    assert slope == pytest.approx(1 / 3, abs=0.01)
    assert shift == pytest.approx(-1 / 3, abs=0.02)


def test_isotonic_equals_scikit_learn_between_its_knots_and_beyond():
    rng = np.random.default_rng(0)
    z = rng.normal(size=500)
    clicked = rng.random(500) < expit(z)
    wanted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(z, clicked)
    other = np.linspace(-9, 9, 301)
    found = fit_calibration("isotonic", z, clicked).probability(other)
    assert np.allclose(found, wanted.predict(other), rtol=0, atol=1e-12)


def test_none_is_the_sigmoid():
    assert fit_calibration("none", np.zeros(0), np.zeros(0, dtype=bool)).probability(
        np.zeros(2)
    ).tolist() == [0.5, 0.5]
