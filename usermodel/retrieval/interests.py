"""Several vectors a query: each is searched for by itself, and a row counts by the one that is nearest to it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float32, Int64, Shaped
from numpy import ndarray

Found = tuple[Float32[ndarray, "m k"], Int64[ndarray, "m k"]]


def merged(
    search: Callable[[Shaped[ndarray, "m dim"], int], Found],
    queries: Shaped[ndarray, "m interests dim"],
    k: int,
) -> Found:
    """The ``k`` best rows of each query and their scores, best first; a row that several vectors found stands there once.

    A row among the ``k`` best of a query has fewer than ``k`` better ones in the list where its best score stands, so that
    the result is as sure as the search. Where there are too few rows, the rest has position -1.

    Args:
        search: Gives scores and positions of one vector a query, best first.
        queries: Vectors of each query.
        k: Rows wanted.
    """
    m, interests, dim = queries.shape
    scores, positions = search(queries.reshape(-1, dim), k)
    if interests == 1:
        return scores, positions
    k = scores.shape[1]
    scores, positions = scores.reshape(m, interests * k), positions.reshape(m, interests * k)
    order = np.lexsort((-scores, positions), axis=1)
    scores, positions = np.take_along_axis(scores, order, 1), np.take_along_axis(positions, order, 1)
    again = positions < 0
    again[:, 1:] |= positions[:, 1:] == positions[:, :-1]
    return top(np.where(again, -np.inf, scores), np.where(again, -1, positions), k)


def top(scores: Float32[ndarray, "m n"], positions: Int64[ndarray, "m n"], k: int) -> Found:
    """The ``k`` highest, highest first."""
    if 0 < k < scores.shape[1]:
        chosen = np.argpartition(scores, -k, axis=1)[:, -k:]
        scores, positions = np.take_along_axis(scores, chosen, 1), np.take_along_axis(positions, chosen, 1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(positions, order, 1)
