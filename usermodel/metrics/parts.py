"""Values in parts of about equal size, lowest first."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray


def equal_parts(values: Float64[ndarray, " n"], parts: int) -> Int64[ndarray, " n"]:
    """The part of each value, from 0; equal values are in one, so there may be fewer. There must be a value."""
    borders = np.quantile(values, np.arange(1, parts) / parts, method="inverted_cdf")
    found: ndarray = np.searchsorted(np.unique(borders), values, side="left")
    return found
