"""The best that filters leave, exactly: more results are fetched until enough are left, or all rows have been scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float32, Int64, Shaped
from numpy import ndarray

from usermodel.retrieval.vector_index import VectorIndex

#: Results held at once.
_RESULTS: Final = 1 << 22
#: Queries searched for at once.
_QUERIES: Final = 1024
#: More results than are wanted that a first search asks for, at most; whoever then has too few asks for more.
_SPARE: Final = 256
#: Scoring rows one by one is no slower than to ask an index for more than this share of them.
_SHARE: Final = 16
#: Rows few enough to be scored without asking an index.
_FEW: Final = 4096


@dataclass(frozen=True)
class Best:
    """Results of many queries, one after the other, best first.

    Attributes:
        owner: Query of each result.
        rank: From 1.
        position: Row found.
        score: Its score.
    """

    owner: Int64[ndarray, " results"]
    rank: Int64[ndarray, " results"]
    position: Int64[ndarray, " results"]
    score: Float32[ndarray, " results"]


@dataclass(frozen=True)
class Seen:
    """Rows that each query must not get: ``rows[offsets[q]:offsets[q + 1]]``."""

    offsets: Int64[ndarray, " queries+1"]
    rows: Int64[ndarray, " seen"]

    @staticmethod
    def none(n: int) -> Seen:
        """Nothing seen by ``n`` queries."""
        return Seen(np.zeros(n + 1, dtype=np.int64), np.zeros(0, dtype=np.int64))

    def keys(self, start: int, stop: int, n: int) -> Int64[ndarray, " keys"]:
        """``(query - start) * n + row`` of what some queries must not get, sorted, each once; rows from ``n`` on do not count."""
        bounds = self.offsets[start : stop + 1]
        query, row = np.repeat(np.arange(stop - start), np.diff(bounds)), self.rows[bounds[0] : bounds[-1]]
        return np.unique((query * n + row)[row < n])


Found = tuple[Float32[ndarray, "m k"], Int64[ndarray, "m k"]]


def best(
    index: VectorIndex,
    queries: Shaped[ndarray, "m *interests dim"],
    k: int,
    *,
    seen: Seen,
    allowed: Bool[ndarray, " n"] | None = None,
) -> Best:
    """The ``k`` best rows of each query that are allowed and that it has not seen; fewer only when no more are left.

    Exact but for what an approximate index does not find among all rows; whoever would get fewer than ``k`` for that reason, or
    whose filters leave little, is served by scoring every row that is left.

    Args:
        index: What to search.
        queries: A vector each, or several, of which the one nearest to a row decides its score.
        k: Results a query.
        seen: What each query must not get.
        allowed: Rows that anybody may get; None means all.
    """
    many = queries if queries.ndim == 3 else queries[:, None]
    owners, positions, scores = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
    size = max(1, min(_QUERIES, _RESULTS // (min(k, len(index)) * many.shape[1] + 1)))
    for start in range(0, len(many), size):
        stop = min(start + size, len(many))
        barred = seen.keys(start, stop, len(index))
        found, rows = _block(index, np.asarray(many[start:stop]), min(k, len(index)), barred, allowed)
        owner, column = np.nonzero(rows >= 0)
        owners.append(owner + start)
        positions.append(rows[owner, column])
        scores.append(found[owner, column])
    owner = np.concatenate(owners)
    rank = np.arange(len(owner)) - np.searchsorted(owner, owner) + 1
    return Best(owner, rank, np.concatenate(positions), np.concatenate(scores))


def _block(
    index: VectorIndex,
    queries: Shaped[ndarray, "m interests dim"],
    k: int,
    barred: Int64[ndarray, " keys"],
    allowed: Bool[ndarray, " n"] | None,
) -> Found:
    """The best of some queries, -1 where there are no more."""
    n, (m, interests, _) = len(index), queries.shape
    n_allowed = n if allowed is None else int(np.count_nonzero(allowed))
    scores = np.full((m, k), -np.inf, dtype=np.float32)
    rows = np.full((m, k), -1, dtype=np.int64)
    mine = barred if allowed is None else barred[allowed[barred % n]]
    gone = np.bincount(mine // n, minlength=m)
    todo = np.arange(m)
    few = n_allowed < n and n_allowed <= max(_FEW, n // _SHARE)
    wanted = 0 if few else -(-(k + min(int(gone.max(initial=0)), _SPARE)) * n // n_allowed)
    while (
        len(todo)
        and 0 < wanted <= max(n // _SHARE, k)
        and len(todo) * wanted * interests <= max(_RESULTS, m * k)
    ):
        more, positions = _asked(index, queries[todo], wanted)
        keep = _kept(positions, todo, n, barred, allowed)
        rank = np.cumsum(keep, axis=1)
        row, column = np.nonzero(keep & (rank <= k))
        to = todo[row], rank[row, column] - 1
        scores[to], rows[to] = more[row, column], positions[row, column]
        todo = todo[rank[:, -1] < np.minimum(k, n_allowed - gone[todo])]
        wanted *= 4
    size = max(1, _RESULTS // max(1, n_allowed))
    for start in range(0, len(todo), size):
        some = todo[start : start + size]
        found, positions = _by_force(index, queries[some], k, _keys_of(some, mine, n), allowed)
        scores[some, : found.shape[1]], rows[some, : found.shape[1]] = found, positions
    return scores, rows


def _asked(index: VectorIndex, queries: Shaped[ndarray, "m interests dim"], k: int) -> Found:
    """What the index finds, a row that several vectors found once. The first ``k`` of these are as sure as the index.

    A row among the ``k`` best of a query has fewer than ``k`` better ones in the list where its best score stands.
    """
    m, interests, dim = queries.shape
    scores, positions = index.search(queries.reshape(-1, dim), k)
    if interests == 1:
        return scores, positions
    scores, positions = scores.reshape(m, -1), positions.reshape(m, -1)
    order = np.lexsort((-scores, positions), axis=1)
    scores, positions = np.take_along_axis(scores, order, 1), np.take_along_axis(positions, order, 1)
    again = positions < 0
    again[:, 1:] |= positions[:, 1:] == positions[:, :-1]
    return _top(np.where(again, -np.inf, scores), np.where(again, -1, positions), min(k, positions.shape[1]))


def _kept(
    positions: Int64[ndarray, "m k"],
    query: Int64[ndarray, " m"],
    n: int,
    barred: Int64[ndarray, " keys"],
    allowed: Bool[ndarray, " n"] | None,
) -> Bool[ndarray, "m k"]:
    keep = positions >= 0
    if allowed is not None:
        keep &= allowed[positions]
    if len(barred):
        keys = query[:, None] * n + positions
        keep &= barred[np.minimum(np.searchsorted(barred, keys), len(barred) - 1)] != keys
    return keep


def _keys_of(some: Int64[ndarray, " some"], keys: Int64[ndarray, " keys"], n: int) -> Int64[ndarray, " keys"]:
    """The keys of some queries, numbered anew."""
    query = keys // n
    there = np.isin(query, some)
    again: ndarray = np.searchsorted(some, query[there]) * n + keys[there] % n
    return again


def _by_force(
    index: VectorIndex,
    queries: Shaped[ndarray, "m interests dim"],
    k: int,
    barred: Int64[ndarray, " keys"],
    allowed: Bool[ndarray, " n"] | None,
) -> Found:
    """All rows scored that are allowed, those barred taken out."""
    n, (m, interests, dim) = len(index), queries.shape
    rows = np.arange(n) if allowed is None else np.flatnonzero(allowed)
    scores = np.empty((m, len(rows)), dtype=np.float32)
    asked = index.index.prepare(queries.reshape(-1, dim))
    step = max(1, _RESULTS // max(m * interests, dim))
    for start in range(0, len(rows), step):
        part = index.index.prepare(np.asarray(index.vectors[rows[start : start + step]]))
        scores[:, start : start + step] = (asked @ part.T).reshape(m, interests, -1).max(axis=1)
    # Barred rows are allowed ones: each has a column.
    scores[barred // n, np.searchsorted(rows, barred % n)] = -np.inf
    found, positions = _top(scores, np.broadcast_to(rows, scores.shape), min(k, len(rows)))
    return found, np.where(np.isneginf(found), -1, positions)


def _top(scores: Float32[ndarray, "m n"], positions: Int64[ndarray, "m n"], k: int) -> Found:
    """The ``k`` highest, highest first."""
    if 0 < k < scores.shape[1]:
        chosen = np.argpartition(scores, -k, axis=1)[:, -k:]
        scores, positions = np.take_along_axis(scores, chosen, 1), np.take_along_axis(positions, chosen, 1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(positions, order, 1)
