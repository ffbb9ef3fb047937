"""How hard an index must look: the least effort that finds a share of the exact best, and what it finds for other queries."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from jaxtyping import Float32, Float64, Shaped
from numpy import ndarray

from usermodel.retrieval.interests import merged

if TYPE_CHECKING:
    from usermodel.retrieval.vector_index import VectorIndex

#: Results that recall is of.
K: Final = 10
#: Queries drawn: half of them choose, the other half measure.
N_QUERIES: Final = 2000
#: Queries whose time is taken one by one.
_TIMED: Final = 100
#: Queries that recall is measured on at once.
_BLOCK: Final = 1024
#: Scores this close, relative to the largest, are level: sums are rounded in another order.
_LEVEL: Final = 1e-5


@dataclass(frozen=True)
class Measured:
    """What tuning found.

    Attributes:
        recall: Share of the exact best ten that was found; a result that is level with the last of them counts.
        target: What was wished for.
        n_queries: Queries that recall was measured on.
        n_tuned: Queries that the effort was chosen by.
        held_out: Whether these are others. Only a single query is both.
        on: What they were: ``users``, or ``vectors`` of the index itself, which are easier to find.
        latency_ms: Median of queries one at a time. Times differ from run to run: they are told, and not kept in files.
        queries_per_s: Searches of all queries together, a second.
    """

    recall: float
    target: float
    n_queries: int
    n_tuned: int
    held_out: bool
    on: str
    latency_ms: float | None = field(default=None, compare=False)
    queries_per_s: float | None = field(default=None, compare=False)

    @property
    def reached(self) -> bool:
        """Whether the recall is what was wished for."""
        return self.recall >= self.target

    def facts(self) -> dict[str, Any]:
        """For a manifest: the same index and queries give the same facts."""
        return {
            name: value for name, value in vars(self).items() if name not in {"latency_ms", "queries_per_s"}
        }


def tune(index: VectorIndex, queries: Shaped[ndarray, "m ..."], target: float, on: str) -> Measured:
    """Set the least effort that reaches the target, and measure it on queries that it was not chosen by.

    Efforts are tried in their own order and not by their time, so that every machine chooses the same. One reaches the target
    when its recall less one standard error does; if none does, the last and most thorough one stays.

    Args:
        index: What is tuned.
        queries: ``[m, dim]``, or ``[m, interests, dim]``, whose results are merged; at most `N_QUERIES` of them are drawn.
        target: Recall wished for.
        on: What the queries are.
    """
    many = queries if queries.ndim == 3 else queries[:, None]
    rng = np.random.default_rng(index.index.spec.seed)
    drawn = rng.choice(len(many), min(len(many), N_QUERIES), replace=False)
    half = -(-len(drawn) // 2)
    chosen, held_out = drawn[:half], drawn[half:]
    sample = np.asarray(many[np.sort(chosen)])
    exact = merged(index.exact.search, sample, K)[0]
    for effort in index.index.efforts():
        index.index.set_effort(effort)
        shares = recalls(merged(index.search, sample, K)[0], exact)
        if shares.mean() - shares.std() / len(shares) ** 0.5 >= target:
            break
    asked = np.asarray(many[np.sort(held_out)]) if len(held_out) else sample
    share, times = recall(index, asked, K), _times(index, asked)
    return Measured(round(share, 6), target, len(asked), half, len(held_out) > 0, on, *times)


def recall(index: VectorIndex, queries: Shaped[ndarray, "m ..."], k: int) -> float:
    """Share of the exact ``k`` best that an index finds, the mean over queries, by score: what is level with the last counts.

    Args:
        index: What is searched.
        queries: ``[m, dim]``, or ``[m, interests, dim]``, whose results are merged before they are compared.
        k: Results a query.

    Returns:
        The share; 1 when there are no queries.
    """
    many = queries if queries.ndim == 3 else queries[:, None]
    found = 0.0
    for start in range(0, len(many), _BLOCK):
        block = np.asarray(many[start : start + _BLOCK])
        exact = merged(index.exact.search, block, k)[0]
        found += float(recalls(merged(index.search, block, k)[0], exact).sum())
    return found / len(many) if len(many) else 1.0


def recalls(found: Float32[ndarray, "m k"], exact: Float32[ndarray, "m k"]) -> Float64[ndarray, " m"]:
    """Share of each query's exact results among those found, by score: a result level with the last exact one counts."""
    last = exact[:, -1:] - _LEVEL * np.abs(exact).max(axis=1, keepdims=True)
    share: ndarray = (found >= last).sum(axis=1) / exact.shape[1]
    return share


def _times(index: VectorIndex, queries: Shaped[ndarray, "m interests dim"]) -> tuple[float, float]:
    """Milliseconds of one query, and queries a second together."""
    alone = []
    for query in queries[:_TIMED]:
        started = time.perf_counter()
        merged(index.search, query[None], K)
        alone.append(time.perf_counter() - started)
    started = time.perf_counter()
    merged(index.search, queries, K)
    together = time.perf_counter() - started
    return round(1e3 * float(np.median(alone)), 4), round(len(queries) / max(together, 1e-9), 1)
