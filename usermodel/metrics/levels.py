"""How good guesses of classes in an order are, with intervals over the rows."""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from usermodel.metrics.estimate import Estimate, mean_of, nothing

DEFINITIONS: Final = {
    "levels_off": "mean number of classes between the guess, which is the median of the guessed law, and the right one; lower is better",
    "kappa": "quadratic weighted kappa (Cohen 1968): 1 - mean squared distance over what it would be if guesses and classes had nothing to do "
    "with each other",
    "accuracy": "share of users whose guess is right",
}


def middle(probability: Float64[ndarray, "n classes"]) -> Int64[ndarray, " n"]:
    """The median class of each law: the first that has half of the probability up to it, which is the best guess by distance."""
    found: ndarray = (np.cumsum(probability, 1) < 0.5).sum(1)
    last: ndarray = np.minimum(found, probability.shape[1] - 1)
    return last


def measure(guess: Int64[ndarray, " n"], truth: Int64[ndarray, " n"]) -> dict[str, Estimate]:
    """All metrics of `DEFINITIONS`, in that order; there must be a row."""
    return {
        "levels_off": mean_of(np.abs(guess - truth).astype(np.float64)),
        "kappa": kappa(guess, truth),
        "accuracy": mean_of((guess == truth).astype(np.float64)),
    }


def kappa(guess: Int64[ndarray, " n"], truth: Int64[ndarray, " n"]) -> Estimate:
    """See `DEFINITIONS`; 0 where all guesses and classes are one.

    Of independent ones with the same shares the mean squared distance is ``var g + var t + (mean g - mean t)^2``.
    """
    g, t = guess.astype(np.float64), truth.astype(np.float64)
    squared, apart = (g - t) ** 2, g.mean() - t.mean()
    of_g, of_t = g - g.mean(), t - t.mean()
    above, below = squared.mean(), of_g.var() + of_t.var() + apart**2
    if not below:
        return nothing(0.0, len(g))
    # How the numerator and the denominator change with the weight of a row.
    slope = of_g**2 - of_g.var() + of_t**2 - of_t.var() + 2 * apart * (of_g - of_t)
    return Estimate(float(1 - above / below), -(squared - above) / below + above * slope / below**2)
