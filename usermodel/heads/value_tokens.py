"""Numbers as short sums: a vocabulary of values, and sequences of its tokens that never increase and sum to the number.

Source: Ma et al., "Generative Regression Based Watch Time Prediction for Short-Video Recommendation" (WWW 2026), vocabulary construction.
Deviations: built from training rows only, where the released code also reads test labels; no value twice; and values 1, 2, 4, ...
are added below the smallest one where some label would not be reached exactly.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

#: Padding, begin, end; values follow, largest first.
PAD: Final = 0
BEGIN: Final = 1
END: Final = 2
FIRST: Final = 3
_START_QUANTILE: Final = 0.9999
_LEAST_QUANTILE: Final = 0.9
_DECAY: Final = 0.99
_ENOUGH: Final = 1e-6


def build_values(labels: Int64[ndarray, " rows"], longest: int | None = None) -> Int64[ndarray, " values"]:
    """Values, largest first, whose greedy sums give every label exactly, in at most ``longest`` tokens each.

    From the largest residual down: a high quantile of what is left of the labels becomes a value and is taken off wherever it
    fits; the quantile falls from 0.9999 to 0.9. Labels are whole numbers of at least 0. While a label needs more tokens, twice the
    value that it takes most often becomes a value, too.
    """
    labels = labels[labels > 0]
    left, quantile, values = labels.copy(), _START_QUANTILE, []
    while len(labels) and (left / labels).max() >= _ENOUGH:
        value = int(np.quantile(left, quantile))
        if value == 0:
            break
        values.append(value)
        left[left >= value] -= value
        quantile = max(_LEAST_QUANTILE, _DECAY * quantile)
    found = _reach_all(labels, np.unique(np.array(values, dtype=np.int64))[::-1])
    distinct = np.unique(labels)
    while longest is not None and (more := _doubled(distinct, found, longest)) is not None:
        found = _reach_all(distinct, np.unique(np.append(found, more))[::-1])
    return found.copy()


def _reach_all(
    labels: Int64[ndarray, " rows"], values: Int64[ndarray, " values"]
) -> Int64[ndarray, " values"]:
    """With 1, 2, 4, ... below the smallest value, where greedy sums would leave something."""
    if not _left(labels, values).any():
        return values
    smallest = int(values[-1]) if len(values) else int(labels.max()) + 1
    powers = 1 << np.arange(max(smallest - 1, 1).bit_length(), dtype=np.int64)
    return np.unique(np.concatenate([values, powers]))[::-1]


def _doubled(labels: Int64[ndarray, " rows"], values: Int64[ndarray, " values"], longest: int) -> int | None:
    """A value that makes the longest sum shorter; None where no sum is too long, or none can be shorter."""
    left, lengths = labels, np.zeros(len(labels), dtype=np.int64)
    for value in values:
        times, left = np.divmod(left, value)
        lengths += times
    if not len(labels) or lengths.max() <= longest:
        return None
    counts = greedy(labels[[lengths.argmax()]], values)[0]
    most = int(counts.argmax())
    wanted = 2 * int(values[most])
    return wanted if counts[most] > 1 and wanted not in values else None


def greedy(
    labels: Int64[ndarray, " rows"], values: Int64[ndarray, " values"]
) -> Int64[ndarray, "rows values"]:
    """How often each value is taken, largest first and as often as it fits."""
    left, counts = labels, np.zeros((len(labels), len(values)), dtype=np.int64)
    for place, value in enumerate(values):
        counts[:, place], left = np.divmod(left, value)
    return counts


def sequences(
    labels: Int64[ndarray, " rows"], values: Int64[ndarray, " values"], longest: int
) -> Int64[ndarray, "rows length"]:
    """Tokens of each label, then `END`, then `PAD`; a label that needs more than ``longest`` tokens loses its smallest ones."""
    counts = greedy(labels, values)
    lengths = np.minimum(counts.sum(1), longest)
    tokens = np.full((len(labels), int(lengths.max(initial=0)) + 1), PAD, dtype=np.int64)
    row, value = np.nonzero(counts)
    times = np.minimum(counts[row, value], longest)
    row, value = np.repeat(row, times), np.repeat(value, times)
    place = np.arange(len(row)) - np.searchsorted(row, row)
    kept = place < longest
    tokens[row[kept], place[kept]] = value[kept] + FIRST
    tokens[np.arange(len(labels)), lengths] = END
    return tokens


def _left(labels: Int64[ndarray, " rows"], values: Int64[ndarray, " values"]) -> Int64[ndarray, " rows"]:
    """What greedy sums do not reach; without a table of counts, for all labels at once."""
    for value in values:
        labels = labels % value
    return labels
