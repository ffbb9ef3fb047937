"""How good guesses of watch time are: MAE, RMSE, XAUC, calibration of quantiles, of all rows and by duration.

XAUC (Zhan et al., KDD 2022) is the share of pairs of rows whose guesses are in the order of their labels. What papers do with ties
differs; here pairs of equal labels are left out and equal guesses count one half, so that a constant guess has 0.5 and a perfect one
1.0, whatever the labels. This is Somers' D of guess given label, as (D + 1) / 2.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from usermodel.metrics.estimate import Estimate, mean_of, nothing, ratio_of
from usermodel.metrics.pair_order import pair_counts
from usermodel.metrics.parts import equal_parts

DEFINITIONS: Final = {
    "mae": "mean absolute error, in the unit of the target; lower is better",
    "rmse": "root of the mean squared error, in the unit of the target; lower is better",
    "xauc": "share of pairs of rows whose guesses are in the order of their labels; pairs of equal labels are left out, equal "
    "guesses count one half",
    "bias": "sum of guesses over sum of labels, minus 1; 0 is best",
    "quantile_calibration": "rows in ten parts of equal size by guess: absolute difference of mean guess and mean label, mean over the "
    "parts by their size, over the mean label; lower is better",
}
#: Parts of `quantile_calibration`, and of the rows by duration.
_PARTS: Final = 10
DURATIONS: Final = 4


def measure(guess: Float64[ndarray, " n"], label: Float64[ndarray, " n"]) -> dict[str, Estimate]:
    """All metrics of `DEFINITIONS`, in that order; there must be a row.

    Where nothing can be told apart, because all labels are equal, XAUC is 0.5; where all labels are 0, what is over them is 0.
    """
    error = guess - label
    squared = mean_of(error**2)
    rmse = squared.value**0.5
    some = bool(label.any())
    zero = Estimate(0.0, np.zeros(len(label)))
    over = ratio_of(error, label) if some else zero
    return {
        "mae": mean_of(np.abs(error)),
        "rmse": Estimate(rmse, squared.influence / (2 * rmse) if rmse else squared.influence),
        "xauc": xauc(guess, label),
        "bias": over,
        "quantile_calibration": _calibration(guess, label) if some else zero,
    }


def xauc(guess: Float64[ndarray, " n"], label: Float64[ndarray, " n"]) -> Estimate:
    """See the module. A pair is a term of the numerator and of the denominator of both of its rows."""
    pairs = pair_counts(label, guess)
    if not pairs.comparable.any():
        return nothing(0.5, len(label))
    found = ratio_of(pairs.concordant, pairs.comparable.astype(np.float64))
    # A statistic of pairs changes twice as fast with a row as its row's own term (Hoeffding 1948).
    return Estimate(found.value, 2 * found.influence)


def duration_parts(
    duration: Float64[ndarray, " n"], parts: int = DURATIONS
) -> list[tuple[str, Float64[ndarray, " rows"]]]:
    """Rows by duration, in parts of about equal size: what they are called, and their positions.

    Equal durations stay together, so there may be fewer parts. Rows of unknown duration (0 or less, or not a number) are in none.
    """
    known = np.flatnonzero(duration > 0)
    if not len(known):
        return []
    part, found = equal_parts(duration[known], parts), []
    for number in np.unique(part):
        rows = known[part == number]
        low, high = duration[rows].min(), duration[rows].max()
        found.append((f"{low:.4g} to {high:.4g} s", rows))
    return found


def _calibration(guess: Float64[ndarray, " n"], label: Float64[ndarray, " n"]) -> Estimate:
    """Parts by rank of the guess, ties in one part; their borders are taken as given."""
    part = equal_parts(guess, _PARTS)
    sign = np.sign(np.bincount(part, guess) - np.bincount(part, label))
    return ratio_of(sign[part] * (guess - label), label)
