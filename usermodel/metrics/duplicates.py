"""Vectors that are equal, and vectors that nearly are; never ``n x n`` of anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float, Int64, UInt64
from numpy import ndarray

from usermodel.metrics.rows import blocks, pick, sample, unit

_TILE: Final = 8192


@dataclass(frozen=True)
class Duplicates:
    """Shares between 0 and 1; vectors of zeros are left out.

    Attributes:
        n: Vectors that are not zeros.
        exact: Share of them that another one equals, bit for bit. Over all of them.
        near: Share whose nearest vector among those that differ has a cosine of at least the threshold. Of a sample, against all.
        n_sampled: Vectors in that sample.
    """

    n: int
    exact: float
    near: float
    n_sampled: int


def duplicates(
    vectors: Float[ndarray, "n dim"], *, cosine: float = 0.99, most: int = 1024, seed: int = 0
) -> Duplicates | None:
    """Count duplicates in two passes over the vectors; None where fewer than two are not zeros.

    Equal vectors do not count as near ones, so the two shares tell apart users with the same input from users whom the
    encoder brings together. Rows are compared by a hash of 64 bits.

    Args:
        vectors: Any float type; memory-mapped arrays are read in blocks.
        cosine: From which cosine on two vectors are near.
        most: Vectors whose neighbours are looked for, at most.
        seed: Seed of that sample.

    Raises:
        DataError: Not a matrix.
        NumericError: A value is not finite.
    """
    hashes, there = _hashes(vectors)
    rows = np.flatnonzero(there)
    if len(rows) < 2:
        return None
    _, group, size = np.unique(hashes[rows], return_inverse=True, return_counts=True)
    chosen = sample(rows, most, seed)
    near = _nearest_other(vectors, hashes, chosen) >= cosine
    return Duplicates(len(rows), float((size[group] > 1).mean()), float(near.mean()), len(chosen))


def _nearest_other(
    vectors: Float[ndarray, "n dim"], hashes: UInt64[ndarray, " n"], chosen: Int64[ndarray, " m"]
) -> Float[ndarray, " m"]:
    """Cosine of each chosen vector with the nearest one that differs from it; -1 where there is none.

    A vector of zeros has cosine 0 with all.
    """
    ours = unit(pick(vectors, chosen)).astype(np.float32)
    nearest = np.full(len(chosen), -1.0, dtype=np.float32)
    for part, block in blocks(vectors):
        theirs = unit(block).astype(np.float32)
        for start in range(0, len(theirs), _TILE):
            cosines = ours @ theirs[start : start + _TILE].T
            first = part.start + start
            cosines[hashes[chosen, None] == hashes[None, first : first + cosines.shape[1]]] = -1.0
            np.maximum(nearest, cosines.max(axis=1), out=nearest)
    return nearest


def _hashes(vectors: Float[ndarray, "n dim"]) -> tuple[UInt64[ndarray, " n"], ndarray]:
    """A hash of each row, and whether it is not zeros. Equal rows have equal hashes; 0.0 and -0.0 are equal."""
    hashes, there = np.zeros(len(vectors), dtype=np.uint64), np.zeros(len(vectors), dtype=bool)
    # Odd factors, so that multiplying loses nothing.
    factors = np.random.default_rng(0).integers(2**63, size=np.shape(vectors)[-1], dtype=np.uint64) * 2 + 1
    for part, block in blocks(vectors):
        there[part] = block.any(axis=1)
        words = (block + 0.0).view(np.uint64)
        # Products keep what differs in the high bits; without bringing it down, sums of round numbers would collide.
        words = words * np.uint64(0x9E3779B97F4A7C15)
        words = (words ^ (words >> np.uint64(32))) * factors
        hashes[part] = (words ^ (words >> np.uint64(29))).sum(axis=1, dtype=np.uint64)
    return hashes, there
