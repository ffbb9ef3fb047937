"""The best that filters leave, exactly: more results are fetched until enough are left, or all rows have been scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float32, Int64, Shaped
from numpy import ndarray

from usermodel.retrieval.interests import Found, merged, top
from usermodel.retrieval.seen import Seen
from usermodel.retrieval.vector_index import VectorIndex

#: Results held at once.
_RESULTS: Final = 1 << 22
#: Queries searched for at once, and rows that they must not get; one query's rows in any case.
_QUERIES: Final = 1024
_SEEN: Final = 1 << 20
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

    def grouped(self, size: int, k: int) -> Best:
        """Each group of ``size`` rows that follow each other once, where its best row stood; at most ``k`` a query.

        Positions of the result are those of groups.
        """
        group = self.position // size
        _, first = np.unique(self.owner * (group.max(initial=0) + 1) + group, return_index=True)
        first = np.sort(first)
        owner = self.owner[first]
        rank = _ranks(owner)
        kept = first[rank <= k]
        return Best(self.owner[kept], rank[rank <= k], group[kept], self.score[kept])


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
    start = 0
    while start < len(many):
        full = int(np.searchsorted(seen.offsets, seen.offsets[start] + _SEEN, side="right")) - 1
        stop = max(start + 1, min(start + size, len(many), full))
        barred = _barred(seen, start, stop, len(index))
        found, rows = _block(index, np.asarray(many[start:stop]), min(k, len(index)), barred, allowed)
        owner, column = np.nonzero(rows >= 0)
        owners.append(owner + start)
        positions.append(rows[owner, column])
        scores.append(found[owner, column])
        start = stop
    owner = np.concatenate(owners)
    return Best(owner, _ranks(owner), np.concatenate(positions), np.concatenate(scores))


def _ranks(owner: Int64[ndarray, " results"]) -> Int64[ndarray, " results"]:
    """From 1 for each owner."""
    ranks: ndarray = np.arange(len(owner)) - np.searchsorted(owner, owner) + 1
    return ranks


def _barred(seen: Seen, start: int, stop: int, n: int) -> Int64[ndarray, " keys"]:
    """``(query - start) * n + row`` of what some queries must not get, sorted, each once; rows from ``n`` on do not count."""
    query, row = (
        np.repeat(np.arange(stop - start), np.diff(seen.offsets[start : stop + 1])),
        seen.rows(start, stop),
    )
    return np.unique((query * n + row)[row < n])


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
        more, positions = merged(index.search, queries[todo], wanted)
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
    found, positions = top(scores, np.broadcast_to(rows, scores.shape), min(k, len(rows)))
    return found, np.where(np.isneginf(found), -1, positions)
