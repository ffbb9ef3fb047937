"""Vectors that can be searched: an index of FAISS, the vectors it was made of, and how hard it must look."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from jaxtyping import Float32, Int64, Shaped
from numpy import ndarray

from usermodel.ann.base import FaissIndex, Metric
from usermodel.ann.flat import FlatIndex
from usermodel.ann.kinds import kind_of
from usermodel.errors import ConfigError

OnProgress = Callable[[int, int], None]
#: Vectors up to which brute force is fast enough to be the default: nothing is lost, and nothing to build.
FLAT_MOST: Final = 200_000
#: Queries that recall is measured on, and results of each.
_QUERIES, _K = 1000, 10
#: Scores this close, relative to the largest, are level: sums are rounded in another order.
_LEVEL: Final = 1e-5
#: Numbers gathered at once to score candidates again: 64 MB of floats.
_GATHERED: Final = 1 << 24


@dataclass(frozen=True)
class Wish:
    """What an index is asked to be.

    Attributes:
        kind: ``flat``, ``sq8``, ``ivf-flat``, ``ivf-pq``, ``hnsw``; or ``auto``: flat up to `FLAT_MOST` vectors and on a
            GPU, hnsw beyond.
        metric: ``inner-product``, or ``cosine``.
        recall: Share of the exact best ten to be found, on the queries that it is tuned with.
        gpu: Search on a GPU.
        seed: Of samples and clusters.
    """

    kind: str = "auto"
    metric: Metric = "inner-product"
    recall: float = 0.95
    gpu: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.recall <= 1:
            do = "Ask for 0.95, for example."
            raise ConfigError("recall", expected="a share above 0, at most 1", found=f"{self.recall}", do=do)

    def chosen(self, n: int) -> str:
        """The kind for ``n`` vectors."""
        if self.kind != "auto":
            return self.kind
        return "flat" if self.gpu or n <= FLAT_MOST else "hnsw"


@dataclass(frozen=True)
class Measured:
    """What tuning found.

    Attributes:
        recall: Share of the exact best ten that was found; a result that is level with the last of them counts.
        queries_per_s: Searches of all queries together, a second.
        n_queries: Queries it was measured on.
        on: What they were: ``users``, or ``vectors`` of the index itself, which are easier to find.
        reached: Whether the recall is what was wished for.
    """

    recall: float
    queries_per_s: float
    n_queries: int
    on: str
    reached: bool


class VectorIndex:
    """Search among rows of a matrix.

    Attributes:
        index: The FAISS index.
        vectors: ``[n, dim]``, for scores that codes only approximate, and for what filters leave.
        measured: What tuning found; None for exact kinds.
    """

    def __init__(
        self, index: FaissIndex, vectors: Shaped[ndarray, "n dim"], measured: Measured | None = None
    ) -> None:
        self.index, self.vectors, self.measured = index, vectors, measured

    @staticmethod
    def build(
        vectors: Shaped[ndarray, "n dim"],
        wish: Wish = Wish(),
        queries: Shaped[ndarray, "m dim"] | None = None,
        on_progress: OnProgress | None = None,
    ) -> VectorIndex:
        """Index vectors, and look as hard as the wished recall asks for.

        Args:
            vectors: At least one.
            wish: What to build.
            queries: What will be asked, such as vectors of users; up to 1,000 of them are used. Without them the index is
                tuned on its own vectors.
            on_progress: Called with (vectors added, vectors in all).
        """
        kind = kind_of(wish.chosen(len(vectors)))
        index = kind.build(vectors, metric=wish.metric, seed=wish.seed, on_progress=on_progress)
        if wish.gpu:
            index.to_gpu()
        built = VectorIndex(index, vectors)
        if len(index.efforts()) > 1:
            built.tune(wish, queries)
        return built

    def __len__(self) -> int:
        return len(self.index)

    @cached_property
    def exact(self) -> FaissIndex:
        """Brute force over the same vectors."""
        return (
            self.index
            if self.index.kind == "flat"
            else FlatIndex.build(self.vectors, metric=self.index.spec.metric)
        )

    def tune(self, wish: Wish, queries: Shaped[ndarray, "m dim"] | None = None) -> None:
        """Take the fastest effort that finds the wished share of the exact results, or the most thorough if none does."""
        asked = self.vectors if queries is None else queries
        rows = np.arange(len(asked))
        if len(rows) > _QUERIES:
            rows = np.sort(np.random.default_rng(wish.seed).choice(rows, _QUERIES, replace=False))
        sample = self.index.prepare(np.asarray(asked[rows]))
        exact = self.exact.find(sample, _K)[0]
        best: tuple[float, dict[str, int], float] | None = None
        done: set[int] = set()
        found = 0.0, 0.0
        for effort in self.index.efforts():
            group = effort.get("rescored", 0) if "nprobe" in effort else 0
            if group in done:
                continue
            self.index.set_effort(effort)
            started = time.perf_counter()
            scores = self.search(sample, _K)[0]
            seconds = time.perf_counter() - started
            found = recall(scores, exact), len(sample) / max(seconds, 1e-9)
            if found[0] >= wish.recall:
                done.add(group)
                if best is None or seconds < best[0]:
                    best = seconds, dict(effort), found[0]
        if best is not None:
            self.index.set_effort(best[1])
            found = best[2], len(sample) / max(best[0], 1e-9)
        on = "vectors" if queries is None else "users"
        self.measured = Measured(round(found[0], 4), round(found[1], 1), len(sample), on, best is not None)

    def search(
        self, queries: Shaped[ndarray, "m dim"], k: int
    ) -> tuple[Float32[ndarray, "m k"], Int64[ndarray, "m k"]]:
        """See `FaissIndex.search`; where codes only approximate scores, the best of more candidates are scored again."""
        asked = self.index.prepare(queries)
        if not self.index.approximate_scores:
            return self.index.find(asked, k)
        many = min(len(self), k * self.index.effort.get("rescored", 1))
        size = max(1, _GATHERED // max(many * asked.shape[1], 1))
        parts = [
            self._rescored(asked[start : start + size], many, k)
            for start in range(0, max(len(asked), 1), size)
        ]
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def _rescored(
        self, asked: Float32[ndarray, "m dim"], many: int, k: int
    ) -> tuple[Float32[ndarray, "m k"], Int64[ndarray, "m k"]]:
        _, positions = self.index.find(asked, many)
        near = self.index.prepare(np.asarray(self.vectors[positions.reshape(-1)])).reshape(
            *positions.shape, -1
        )
        scores = np.einsum("md,mkd->mk", asked, near)
        scores[positions < 0] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, order, 1), np.take_along_axis(positions, order, 1)

    def facts(self) -> dict[str, Any]:
        """What a manifest says."""
        spec = self.index.spec
        facts: dict[str, Any] = {"n": spec.n, "dim": spec.dim, "metric": spec.metric, "seed": spec.seed}
        facts |= {"type": self.index.kind, "effort": dict(self.index.effort)}
        return facts | ({"measured": dict(vars(self.measured))} if self.measured else {})


def recall(found: Float32[ndarray, "m k"], exact: Float32[ndarray, "m k"]) -> float:
    """Share of exact results among those found, by score: a result level with the last exact one counts."""
    if not exact.size:
        return 1.0
    last = exact[:, -1:] - _LEVEL * np.abs(exact).max(axis=1, keepdims=True)
    return float((found >= last).sum() / exact.size)
