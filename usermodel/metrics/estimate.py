"""Estimate: a metric and what each row contributes to it to first order, of which intervals are made by the delta method.

The influence of a row is how the metric changes with the row's weight, times the number of rows. Rows of one user are not
independent: with groups, their influences are summed first, and the interval is one over groups (clusters; Liang & Zeger 1986).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray
from scipy.special import ndtri

#: How intervals over users are made, as printed beside them.
WORDS: Final = "95 % interval over users: normal approximation (delta method)"


@dataclass(frozen=True)
class Estimate:
    """A metric and what each row contributes to it.

    Attributes:
        value: The metric.
        influence: For each row, how the metric changes with its weight, times the number of rows; mean 0. Not a number where the metric
            is a convention, because no row says anything.
    """

    value: float
    influence: Float64[ndarray, " n"]

    def interval(self, group: Int64[ndarray, " n"] | None = None) -> tuple[float, float] | tuple[None, None]:
        """95 %; None of one row, of one group, or of a convention.

        Args:
            group: Number of the group of each row, from 0; None means that rows are independent.
        """
        n = len(self.influence)
        if np.isnan(self.influence).any():
            return None, None
        summed = self.influence if group is None else np.bincount(group, self.influence)[np.unique(group)]
        if len(summed) < 2:
            return None, None
        error = (len(summed) * summed.var(ddof=1)) ** 0.5 / n
        half = float(ndtri(0.975) * error)
        return self.value - half, self.value + half


def nothing(value: float, n: int) -> Estimate:
    """What is said by convention where none of ``n`` rows says anything."""
    return Estimate(value, np.full(n, np.nan))


def mean_of(values: Float64[ndarray, " n"]) -> Estimate:
    """The mean over rows; there must be one."""
    value = float(values.mean())
    return Estimate(value, values - value)


def ratio_of(above: Float64[ndarray, " n"], below: Float64[ndarray, " n"]) -> Estimate:
    """``sum(above) / sum(below)``; the second sum must not be 0."""
    value = float(above.sum() / below.sum())
    return Estimate(value, (above - value * below) / below.mean())
