"""Blocks of a matrix of vectors, checked; what figures about whole tables read them with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from jaxtyping import Float, Float64, Int64
from numpy import ndarray

from usermodel.errors import DataError, NumericError

#: Numbers in a block: 32 MiB in float64.
_NUMBERS: Final = 1 << 22


def blocks(vectors: Float[ndarray, "n dim"]) -> Iterator[tuple[slice, Float64[ndarray, "block dim"]]]:
    """Consecutive rows in float64, with where they stand; a memory-mapped matrix is never whole in memory.

    Raises:
        DataError: Not a matrix.
        NumericError: A value is not finite; the row is named.
    """
    if np.ndim(vectors) != 2:
        found = f"an array of shape {np.shape(vectors)}"
        do = "Pass one row for each vector."
        raise DataError("vectors", expected="a matrix [n, dim]", found=found, do=do)
    n, size = len(vectors), block_rows(vectors.shape[1])
    for start in range(0, n, size):
        part = slice(start, min(start + size, n))
        yield part, _finite(vectors[part], range(part.start, part.stop))


def block_rows(dim: int) -> int:
    """Rows in a block of this width."""
    return max(1, _NUMBERS // max(dim, 1))


def pick(vectors: Float[ndarray, "n dim"], rows: Int64[ndarray, " m"]) -> Float64[ndarray, "m dim"]:
    """Some rows in float64.

    Raises:
        NumericError: A value is not finite; the row is named.
    """
    return _finite(vectors[rows], rows)


def _finite(some: ndarray, rows: Sequence[int] | ndarray) -> Float64[ndarray, "m dim"]:
    some = np.asarray(some, dtype=np.float64)
    finite = np.isfinite(some).all(axis=1)
    if not finite.all():
        found = f"NaN or infinity in row {int(rows[int(np.argmin(finite))]):,}"
        raise NumericError("vectors", expected="finite values", found=found, do="Check the encoder.")
    return some


def unit(vectors: Float64[ndarray, "m dim"]) -> Float64[ndarray, "m dim"]:
    """Vectors of length 1; a vector of zeros stays as it is."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(length > 0, length, 1.0))


def sample(rows: Int64[ndarray, " n"], most: int, seed: int) -> Int64[ndarray, " m"]:
    """At most so many of some rows, increasing; the same seed draws the same ones."""
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
