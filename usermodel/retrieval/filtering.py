"""The best that filters leave, exactly: as many more results are fetched as may fall away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float32, Int64, Shaped
from numpy import ndarray

from usermodel.ann.flat import FlatIndex
from usermodel.retrieval.vector_index import VectorIndex

#: Results held at once.
_RESULTS: Final = 1 << 22
#: Denied rows up to which the index is asked for so many more; beyond, what is left is searched by brute force.
_DENIED: Final = 256


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


_NOTHING: Final = Best(*(np.zeros(0, dtype=np.int64),) * 3, np.zeros(0, dtype=np.float32))


@dataclass(frozen=True)
class Seen:
    """Rows that each query must not get: ``rows[offsets[q]:offsets[q + 1]]``."""

    offsets: Int64[ndarray, " queries+1"]
    rows: Int64[ndarray, " seen"]

    @staticmethod
    def none(n: int) -> Seen:
        """Nothing seen by ``n`` queries."""
        return Seen(np.zeros(n + 1, dtype=np.int64), np.zeros(0, dtype=np.int64))


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
    whose filters leave little, is served by brute force.

    Args:
        index: What to search.
        queries: A vector each, or several, of which the one nearest to a row decides its score.
        k: Results a query.
        seen: What each query must not get.
        allowed: Rows that anybody may get; None means all.
    """
    many = queries if queries.ndim == 3 else queries[:, None]
    rows, barred = np.arange(len(index)), np.zeros(0, dtype=np.int64)
    if allowed is not None:
        barred = np.flatnonzero(~allowed)
        if len(barred) > _DENIED:
            rows, barred = np.flatnonzero(allowed), barred[:0]
            if not len(rows):
                return _NOTHING
            left = index.vectors[rows]
            index = VectorIndex(FlatIndex.build(left, metric=index.index.spec.metric), left)
    place = np.full(int(rows[-1]) + 1, -1, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    lengths = np.diff(seen.offsets)
    parts = [
        _block(index, many[block], k, _keys(seen, block, place, barred, len(rows)), block)
        for block in _blocks(lengths, k + len(barred), many.shape[1])
    ]
    return _sorted(parts, rows)


def _blocks(
    lengths: Int64[ndarray, " queries"], more: int, interests: int
) -> Iterator[Int64[ndarray, " block"]]:
    """Queries that are asked together: those that have seen about as much, and no more results than fit."""
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        size = min(len(order) - start, max(1, _RESULTS // ((more + int(lengths[order[start]])) * interests)))
        # The last of them needs the most.
        while size > 1 and size * (more + int(lengths[order[start + size - 1]])) * interests > _RESULTS:
            size = (size + 1) // 2
        yield order[start : start + size]
        start += size


def _keys(
    seen: Seen,
    block: Int64[ndarray, " block"],
    place: Int64[ndarray, " rows"],
    barred: Int64[ndarray, " barred"],
    n: int,
) -> Int64[ndarray, " keys"]:
    """``query * n + row`` of every row that a query must not get, each once; queries and rows as they are searched."""
    lengths = np.diff(seen.offsets)[block]
    first = np.repeat(seen.offsets[block] - np.cumsum(lengths) + lengths, lengths)
    rows, query = seen.rows[first + np.arange(len(first))], np.repeat(np.arange(len(block)), lengths)
    known = rows < len(place)
    rows, query = place[rows[known]], query[known]
    own = query[rows >= 0] * n + rows[rows >= 0]
    common = (np.arange(len(block))[:, None] * n + barred).reshape(-1)
    return np.unique(np.concatenate([own, common]))


def _block(
    index: VectorIndex,
    queries: Shaped[ndarray, "m interests dim"],
    k: int,
    barred: Int64[ndarray, " keys"],
    owner: Int64[ndarray, " m"],
) -> Best:
    m, interests, dim = queries.shape
    n = len(index)
    gone = np.bincount(barred // n, minlength=m)
    scores, positions = index.search(queries.reshape(-1, dim), min(n, k + int(gone.max(initial=0))))
    scores, positions = scores.reshape(m, -1), positions.reshape(m, -1)
    if interests > 1:
        scores, positions = _merged(scores, positions)
    keep = (positions >= 0) & ~np.isin(np.arange(m)[:, None] * n + positions, barred)
    rank = np.cumsum(keep, axis=1)
    lacking = np.flatnonzero(rank[:, -1] < np.minimum(k, n - gone))
    keep &= rank <= k
    keep[lacking] = False
    row, column = np.nonzero(keep)
    found = [Best(owner[row], rank[row, column], positions[row, column], scores[row, column])]
    for one in lacking:
        mine = barred[(barred >= one * n) & (barred < (one + 1) * n)] - one * n
        found.append(_by_force(index, queries[one], k, mine, int(owner[one])))
    return _joined(found)


def _merged(
    scores: Float32[ndarray, "m found"], positions: Int64[ndarray, "m found"]
) -> tuple[Float32[ndarray, "m found"], Int64[ndarray, "m found"]]:
    """Results of all vectors of a query, best first, a row that several found once."""
    order = np.argsort(-scores, axis=1, kind="stable")
    scores, positions = np.take_along_axis(scores, order, 1), np.take_along_axis(positions, order, 1)
    for line in positions:
        again = np.ones(len(line), dtype=bool)
        again[np.unique(line, return_index=True)[1]] = False
        line[again] = -1
    return scores, positions


def _by_force(
    index: VectorIndex,
    query: Shaped[ndarray, "interests dim"],
    k: int,
    barred: Int64[ndarray, " n"],
    owner: int,
) -> Best:
    """All rows scored for one query."""
    scores, positions = index.exact.search(query, len(index))
    scores, positions = _merged(scores.reshape(1, -1), positions.reshape(1, -1))
    keep = np.flatnonzero((positions[0] >= 0) & ~np.isin(positions[0], barred))[:k]
    return Best(np.full(len(keep), owner), np.arange(1, len(keep) + 1), positions[0, keep], scores[0, keep])


def _joined(parts: list[Best]) -> Best:
    return Best(
        *(
            np.concatenate([getattr(one, name) for one in parts])
            for name in ("owner", "rank", "position", "score")
        )
    )


def _sorted(parts: list[Best], rows: Int64[ndarray, " rows"]) -> Best:
    """By query and rank, with rows as they are outside the search."""
    found = _joined([_NOTHING, *parts])
    order = np.lexsort((found.rank, found.owner))
    return Best(found.owner[order], found.rank[order], rows[found.position[order]], found.score[order])
