"""Calibration of scores that exaggerate."""

import numpy as np
import pytest
from scipy.special import expit

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
    model = fit_calibration("platt", 3 * z + 1, clicked).model
    assert model.coef_[0, 0] == pytest.approx(1 / 3, abs=0.01)
    assert model.intercept_[0] == pytest.approx(-1 / 3, abs=0.02)


def test_none_is_the_sigmoid():
    assert fit_calibration("none", np.zeros(0), np.zeros(0, dtype=bool)).probability(
        np.zeros(2)
    ).tolist() == [0.5, 0.5]
