"""How good guesses of numbers are, with intervals over the rows."""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from usermodel.metrics.estimate import Estimate, mean_of, nothing
from usermodel.metrics.watch_time import xauc

DEFINITIONS: Final = {
    "r2": "1 - mean squared error over the variance of the numbers; 0 for always saying their mean",
    "mae": "mean absolute error; lower is better",
    "rmse": "root of the mean squared error; lower is better",
    "xauc": "share of pairs of users with different numbers whose guesses are in the same order; equal guesses half",
}


def measure(guess: Float64[ndarray, " n"], truth: Float64[ndarray, " n"]) -> dict[str, Estimate]:
    """All metrics of `DEFINITIONS`, in that order; there must be a row."""
    squared = mean_of((guess - truth) ** 2)
    rmse = squared.value**0.5
    return {
        "r2": r2(guess, truth),
        "mae": mean_of(np.abs(guess - truth)),
        "rmse": Estimate(rmse, squared.influence / (2 * rmse) if rmse else squared.influence),
        "xauc": xauc(guess, truth),
    }


def r2(guess: Float64[ndarray, " n"], truth: Float64[ndarray, " n"]) -> Estimate:
    """See `DEFINITIONS`; 0 where all numbers are equal."""
    error, spread = (guess - truth) ** 2, (truth - truth.mean()) ** 2
    above, below = error.mean(), spread.mean()
    if not below:
        return nothing(0.0, len(truth))
    return Estimate(float(1 - above / below), -(error - above) / below + above * (spread - below) / below**2)
