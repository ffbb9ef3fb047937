"""Health of a table of vectors: how many directions it uses, how evenly it fills the sphere, how close pairs are.

Vectors of zeros belong to users of whom nothing is known; every figure leaves them out. No figure but that of the
coordinates changes when all vectors are rotated.

Sources: Roy & Vetterli 2007, The effective rank: a measure of effective dimensionality (definition 1); Wang & Isola
2020, Understanding contrastive representation learning through alignment and uniformity on the hypersphere (section 4.1:
alignment with alpha = 2, uniformity with t = 2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float, Float64, Int64
from numpy import ndarray
from scipy.special import hyp0f1

from usermodel.errors import MismatchError
from usermodel.metrics.rows import block_rows, blocks, pick, sample, unit

#: Share of the squared length below which a variance is the rounding of float32.
_ROUNDING: Final = 1e-14
_T: Final = 2.0
_TILE: Final = 1024


@dataclass(frozen=True)
class Moments:
    """What one pass over vectors leaves behind; vectors of zeros are counted in ``norms`` and in nothing else.

    Attributes:
        n: Vectors that are not zeros.
        mean: Their mean.
        scatter: Sum of outer products of what is left after the mean is taken away.
        norms: Length of every vector.
    """

    n: int
    mean: Float64[ndarray, " dim"]
    scatter: Float64[ndarray, "dim dim"]
    norms: Float64[ndarray, " rows"]

    @property
    def squares(self) -> float:
        """Sum of the squared lengths."""
        return float(self.norms @ self.norms)

    @property
    def variances(self) -> Float64[ndarray, " dim"]:
        """Eigenvalues of ``scatter``, largest first; all zero where vectors differ by rounding only."""
        if float(np.trace(self.scatter)) <= _ROUNDING * self.squares:
            return np.zeros(len(self.mean))
        values = np.linalg.eigvalsh(self.scatter)[::-1]
        return np.where(values > _ROUNDING * values[0], values, 0.0)

    def effective_rank(self) -> float | None:
        """Exponential of the entropy of the normalised singular values of the centred vectors (Roy & Vetterli 2007).

        Between 1 and ``dim``; 0 where all vectors are equal, None where there are fewer than two. Singular values are the
        roots of ``variances``. The mean is taken away first, because what all vectors share tells nobody apart;
        `shared_length` says how much that is.
        """
        if self.n < 2:
            return None
        singular = np.sqrt(self.variances[self.variances > 0])
        if not len(singular):
            return 0.0
        share = singular / singular.sum()
        return math.exp(-float(share @ np.log(share)))

    def shared_length(self) -> float | None:
        """``|mean|^2 / mean |x|^2``: share of the squared length that all vectors have in common, 0 to 1."""
        return self.n * float(self.mean @ self.mean) / self.squares if self.n else None

    def norm_variation(self) -> float | None:
        """Standard deviation of the lengths over their mean."""
        lengths = self.norms[self.norms > 0]
        return float(lengths.std() / lengths.mean()) if self.n else None

    def dead_dimensions(self) -> int | None:
        """Coordinates whose standard deviation is below a hundredth of the root mean square of all of them."""
        if self.n < 2:
            return None
        spread = np.diag(self.scatter)
        if not self.variances.any():
            return len(spread)
        return int((spread < 1e-4 * spread.mean()).sum())


def moments(vectors: Float[ndarray, "n dim"]) -> Moments:
    """Moments in one pass and in float64, joined block by block (Chan, Golub & LeVeque 1983).

    Raises:
        DataError: Not a matrix.
        NumericError: A value is not finite.
    """
    dim = np.shape(vectors)[-1]
    n, mean, scatter, norms = 0, np.zeros(dim), np.zeros((dim, dim)), np.zeros(len(vectors))
    for part, block in blocks(vectors):
        norms[part] = np.linalg.norm(block, axis=1)
        some = block[norms[part] > 0]
        if not len(some):
            continue
        own = some.mean(axis=0)
        centred, step = some - own, own - mean
        scatter += centred.T @ centred + np.outer(step, step) * (n * len(some) / (n + len(some)))
        n += len(some)
        mean += step * (len(some) / n)
    return Moments(n, mean, scatter, norms)


def uniformity(vectors: Float[ndarray, "n dim"], *, most: int = 4096, seed: int = 0) -> float | None:
    """``log mean exp(-2 |x - y|^2)`` over pairs of two different rows, scaled to length 1 (Wang & Isola 2020, L_uniform).

    From 0, all vectors point the same way, down to `even_uniformity`. All pairs up to ``most`` vectors that are not zeros;
    beyond, all pairs of a random sample of that size. None where there are fewer than two.

    Raises:
        DataError: Not a matrix.
        NumericError: A value is not finite.
    """
    rows = np.concatenate(
        [
            np.zeros(0, np.int64),
            *(part.start + np.flatnonzero(block.any(axis=1)) for part, block in blocks(vectors)),
        ]
    )
    if len(rows) < 2:
        return None
    points = unit(pick(vectors, sample(rows, most, seed)))
    total = 0.0
    for start in range(0, len(points), _TILE):
        some = points[start : start + _TILE]
        gaussian = np.exp(-_T * np.maximum(2 - 2 * some @ points.T, 0.0))
        gaussian[np.arange(len(some)), start + np.arange(len(some))] = 0.0
        total += float(gaussian.sum())
    return math.log(total / (len(points) * (len(points) - 1)))


def even_uniformity(dim: int) -> float:
    """`uniformity` of points spread evenly over the whole sphere, the least that many points can have (the same, Proposition 1).

    ``-4 + log 0F1(; dim / 2; 4)``, because ``|x - y|^2 = 2 - 2 z`` and the mean of ``exp(4 z)`` over the sphere is that
    hypergeometric function; about -4 in high dimensions.
    """
    return -2 * _T + math.log(float(hyp0f1(dim / 2, _T * _T)))


@dataclass(frozen=True)
class Alignment:
    """How close positive pairs are.

    Attributes:
        n: Pairs without a vector of zeros.
        value: ``mean |x - y|^2`` over positive pairs, both scaled to length 1: 0 to 4 (Wang & Isola 2020, L_align).
        chance: The same over all combinations of the left of one pair with the right of any.
    """

    n: int
    value: float
    chance: float


def alignment(
    left: Float[ndarray, "n dim"],
    right: Float[ndarray, "m dim"],
    left_rows: Int64[ndarray, " pairs"],
    right_rows: Int64[ndarray, " pairs"],
) -> Alignment | None:
    """Alignment of pairs of rows of two tables; None where no pair has two vectors that are not zeros.

    Raises:
        MismatchError: Tables of two widths.
        NumericError: A value is not finite.
    """
    if left.shape[1] != right.shape[1]:
        found, do = f"{left.shape[1]} and {right.shape[1]}", "Take both tables from one export."
        raise MismatchError("alignment", expected="vectors of one width", found=found, do=do)
    n, distance, sums = 0, 0.0, np.zeros((2, left.shape[1]))
    size = block_rows(left.shape[1])
    for start in range(0, len(left_rows), size):
        x, y = (
            pick(table, rows[start : start + size])
            for table, rows in ((left, left_rows), (right, right_rows))
        )
        both = x.any(axis=1) & y.any(axis=1)
        x, y = unit(x[both]), unit(y[both])
        n, distance = n + len(x), distance + float(np.square(x - y).sum())
        sums += x.sum(axis=0), y.sum(axis=0)
    if not n:
        return None
    return Alignment(n, distance / n, 2 - 2 * float(sums[0] @ sums[1]) / n**2)
