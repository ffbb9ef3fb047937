"""How much one feature of an item tells about another: mutual information over a catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, Integer
from numpy import ndarray
from scipy import sparse

#: Parts of equal size into which numbers are cut.
BINS: Final = 10


def mutual_information(
    first: Integer[ndarray, "items width"], second: Integer[ndarray, "items other_width"]
) -> float:
    """``MI = sum_{a,b} P(a,b) log( P(a,b) / (P(a) P(b)) )`` in nats: the plug-in estimate, which no sample corrects.

    ``P(a,b)`` is the probability of the values of a random item: one value of the first feature and one of the second, each
    drawn evenly from those that the item has. An item without values has the value 0. So a feature of one value an item tells of
    itself its entropy; one of several values tells less of itself, because two draws differ. Features with nearly as many values
    as there are items tell much of any other, whatever the truth: few items share a value.

    Args:
        first: Values of each item as numbers from 1, in no order; 0 fills the gaps.
        second: The same items' values of the other feature.
    """
    a, b = _shares(first), _shares(second)
    joint = sparse.coo_array(a.T @ b / max(len(first), 1))
    p, q = np.asarray(joint.sum(1)).ravel(), np.asarray(joint.sum(0)).ravel()
    some = joint.data > 0
    row, column, value = joint.row[some], joint.col[some], joint.data[some]
    return float((value * np.log(value / (p[row] * q[column]))).sum())


def information_matrix(
    features: Sequence[Integer[ndarray, "items _"]],
) -> Float64[ndarray, "features features"]:
    """`mutual_information` of all pairs; on the diagonal that of a feature with itself."""
    n = len(features)
    out = np.zeros((n, n))
    for i in range(n):
        for j in range(i, n):
            out[i, j] = out[j, i] = mutual_information(features[i], features[j])
    return out


def masked_together(information: Float64[ndarray, "features features"]) -> Bool[ndarray, "features features"]:
    """Correlated feature masking: row f marks f and the ``floor(k / 2)`` others that tell most about it, of k features.

    At least one feature is left unmarked. Equals are decided by the lowest number.
    """
    k = len(information)
    out = np.eye(k, dtype=bool)
    # Sums of the same numbers in another order differ in their last bits.
    order = np.argsort(-np.round(information, 9) + np.where(out, np.inf, 0), axis=1, kind="stable")
    np.put_along_axis(out, order[:, : max(min(k // 2, k - 2), 0)], True, axis=1)
    return out


def numbers_as_codes(numbers: Float[ndarray, "items size"]) -> Int64[ndarray, "items one"]:
    """Numbers as one value an item: tenths of the items by size; of several numbers, by their first principal component."""
    x = numbers.astype(np.float64)
    if x.shape[1] > 1:
        x = x - x.mean(0)
        x = x @ np.linalg.eigh(x.T @ x)[1][:, -1:]
    borders = np.unique(np.quantile(x, np.arange(1, BINS) / BINS)) if len(x) else x
    return 1 + np.searchsorted(borders, x, side="left")


def _shares(codes: Integer[ndarray, "items width"]) -> sparse.csr_array:
    """``[items, values]``: each value that an item has, as a share of one."""
    known = codes != 0
    count = known.sum(1)
    known[:, 0] |= count == 0
    row, column = np.nonzero(known)
    share = 1 / np.maximum(count, 1)[row]
    n_values = int(codes.max(initial=0)) + 1
    return sparse.csr_array((share, (row, codes[row, column].astype(np.int64))), shape=(len(codes), n_values))
