"""How much item vectors say about how often their items occur: R^2 of a ridge regression, measured on items left out.

Hoerl & Kennard 1970, Ridge regression: biased estimation for nonorthogonal problems, equation 2.1. Measured on the items it
was fitted to, R^2 would be about ``dim / n`` for vectors that know nothing.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Float, Float64, Int, Int64
from numpy import ndarray

from usermodel.errors import DataError
from usermodel.metrics.rows import blocks

FOLDS: Final = 5
#: Penalty, as a share of the mean variance of a coordinate: enough to make the equations solvable, no more.
_PENALTY: Final = 1e-3


def popularity_r2(
    vectors: Float[ndarray, "items dim"], counts: Int[ndarray, " items"], *, seed: int = 0
) -> float | None:
    """R^2 of ``log(1 + count)`` predicted from the vectors by five-fold cross-validated ridge regression with an intercept.

    ``1 - sum (y - predicted)^2 / sum (y - mean)^2`` over all items, each predicted by the fold that left it out, ``mean``
    being that of all items. At most 1; about 0, or a little below, where vectors say nothing of counts. The penalty is
    ``1e-3 * trace(X'X) / dim`` of the centred vectors of a fold, so neither rotating nor scaling the vectors changes anything.

    Args:
        vectors: One row per item; pass lengths as one column to ask about them alone.
        counts: Events of each item.
        seed: Seed of the folds.

    Returns:
        None for fewer than ten items, or when all counts are equal.

    Raises:
        DataError: Another number of counts than of vectors.
        NumericError: A value is not finite.
    """
    if len(vectors) != len(counts):
        found, do = f"{len(counts):,} counts for {len(vectors):,} vectors", "Pass one count per item."
        raise DataError("counts", expected="one per vector", found=found, do=do)
    y = np.log1p(np.asarray(counts, dtype=np.float64))
    if len(y) < 2 * FOLDS or float(np.ptp(y)) == 0.0:
        return None
    fold = folds(len(y), seed)
    weights, intercepts = _fit(vectors, y, fold)
    residual = 0.0
    for part, block in blocks(vectors):
        predicted = np.einsum("nd,nd->n", block, weights[fold[part]]) + intercepts[fold[part]]
        residual += float(np.square(y[part] - predicted).sum())
    return 1 - residual / float(np.square(y - y.mean()).sum())


def folds(n: int, seed: int) -> Int64[ndarray, " n"]:
    """Which fold leaves out each row: random, of equal size but for one."""
    return np.random.default_rng(seed).permutation(n) % FOLDS


def _fit(
    vectors: Float[ndarray, "items dim"], y: Float64[ndarray, " items"], fold: Int64[ndarray, " items"]
) -> tuple[Float64[ndarray, "folds dim"], Float64[ndarray, " folds"]]:
    """Weights and intercepts of each fold, fitted to the rows it does not leave out."""
    dim = vectors.shape[1]
    # Counts, sums and products of the rows that each fold leaves out; those that it keeps are the rest.
    # A shift by the mean keeps the products of vectors with a common offset exact.
    shift = sum((block.sum(axis=0) for _, block in blocks(vectors)), np.zeros(dim)) / len(y)
    sums, gram = np.zeros((FOLDS, dim + 2)), np.zeros((FOLDS, dim, dim + 1))
    for part, block in blocks(vectors):
        for number in range(FOLDS):
            mine = fold[part] == number
            x, target = block[mine] - shift, y[part][mine]
            sums[number] += *x.sum(axis=0), target.sum(), len(target)
            gram[number] += x.T @ np.column_stack([x, target])
    sums, gram = sums.sum(axis=0) - sums, gram.sum(axis=0) - gram
    weights, intercepts = np.zeros((FOLDS, dim)), np.zeros(FOLDS)
    for number in range(FOLDS):
        n, mean = sums[number, -1], sums[number, :-1] / sums[number, -1]
        centred = gram[number] - n * np.outer(mean[:dim], mean)
        penalty = _PENALTY * float(np.trace(centred[:, :dim])) / dim
        if penalty > 0:
            weights[number] = np.linalg.solve(centred[:, :dim] + penalty * np.eye(dim), centred[:, dim])
        intercepts[number] = mean[dim] - weights[number] @ (mean[:dim] + shift)
    return weights, intercepts
