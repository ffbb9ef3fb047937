"""How many other rows each row is in the right order with, in n log^2 n steps and without a table of pairs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, Shaped
from numpy import ndarray
from scipy.stats import rankdata


class PairCounts(NamedTuple):
    """For each row, about the rows with another label.

    Attributes:
        concordant: Those that score and label put on the same side; equal scores count one half.
        comparable: How many there are.
    """

    concordant: Float64[ndarray, " n"]
    comparable: Int64[ndarray, " n"]


def pair_counts(label: Shaped[ndarray, " n"], score: Shaped[ndarray, " n"]) -> PairCounts:
    """Count for each row.

    By label, and by score among equal labels, the rows stand in an order in which all lower labels come before. What lies to the
    left with a lower score is counted in blocks that double, as in merge sort; the right side follows by subtraction.
    """
    n = len(label)
    # Dense ranks: equal values are equal numbers.
    y, p = (rankdata(values, "dense").astype(np.int64) for values in (label, score))
    order = np.lexsort((p, y))
    y, p = y[order], p[order]
    below, level = _to_the_left(p)
    # Rows of the same label to the left are no pairs; among them scores ascend.
    group = np.searchsorted(y, y)
    end = np.searchsorted(y, y, side="right")
    both = y * (n + 1) + p
    first, last = np.searchsorted(both, both), np.searchsorted(both, both, side="right")
    below -= first - group
    level -= np.arange(n) - first
    higher_score = np.searchsorted(np.sort(p), p, side="right")
    above = (n - higher_score) - (end - last) - (group - below - level)
    same_score = np.bincount(p)[p]
    level_above = same_score - (last - first) - level
    counts = np.empty(n)
    comparable = np.empty(n, dtype=np.int64)
    counts[order] = below + above + 0.5 * (level + level_above)
    comparable[order] = n - (end - group)
    return PairCounts(counts, comparable)


def _to_the_left(
    values: Int64[ndarray, " n"],
) -> tuple[Int64[ndarray, " n"], Int64[ndarray, " n"]]:
    """For each place, how many values before it are smaller, and how many are equal."""
    n = len(values)
    size = 1 << max(n - 1, 0).bit_length()
    # Beyond the end stands what is larger than all.
    padded = np.full(size, n + 1, dtype=np.int64)
    padded[:n] = values
    place = np.arange(size)
    smaller, equal = np.zeros((2, size), dtype=np.int64)
    width = 1
    while width < size:
        blocks, places = padded.reshape(-1, 2, width), place.reshape(-1, 2, width)
        shift = np.arange(len(blocks))[:, None] * (n + 2)
        left, right = ((blocks[:, side] + shift).ravel() for side in (0, 1))
        begin = np.repeat(np.arange(len(blocks)) * width, width)
        low = np.searchsorted(left, right)
        where = places[:, 1].ravel()
        smaller[where] += low - begin
        equal[where] += np.searchsorted(left, right, side="right") - low
        width *= 2
        rows = padded.reshape(-1, width)
        # Two sorted runs each: timsort merges them.
        merged = np.argsort(rows, axis=1, kind="stable")
        padded = np.take_along_axis(rows, merged, 1).ravel()
        place = np.take_along_axis(place.reshape(-1, width), merged, 1).ravel()
    return smaller[:n], equal[:n]
