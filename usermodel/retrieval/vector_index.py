"""Vectors that can be searched: an index of FAISS, the vectors it was made of, and how hard it must look."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from jaxtyping import Float32, Int64, Shaped
from numpy import ndarray

from usermodel.ann.base import Effort, FaissIndex, Metric, Spec
from usermodel.ann.flat import FlatIndex
from usermodel.ann.kinds import kind_of
from usermodel.errors import ConfigError
from usermodel.retrieval.tuning import Measured, tune

OnProgress = Callable[[int, int], None]
#: Vectors up to which brute force is fast enough to be the default: nothing is lost, and nothing to build.
FLAT_MOST: Final = 200_000
#: Numbers gathered at once to score candidates again: 64 MB of floats.
_GATHERED: Final = 1 << 24


@dataclass(frozen=True)
class Wish:
    """What an index is asked to be.

    Attributes:
        kind: ``flat``, ``sq8``, ``ivf-flat``, ``ivf-pq``, ``hnsw``; or ``auto``: flat up to `FLAT_MOST` vectors and on a
            GPU, hnsw beyond.
        metric: ``inner-product``, or ``cosine``.
        recall: Share of the exact best ten to be found by queries like those that it is tuned with.
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
        queries: Shaped[ndarray, "m *interests dim"] | None = None,
        on_progress: OnProgress | None = None,
    ) -> VectorIndex:
        """Index vectors, and look as hard as the wished recall asks for.

        Args:
            vectors: At least one.
            wish: What to build.
            queries: What will be asked, such as vectors of users, one or several each; up to 2,000 of them are drawn.
                Without them the index is tuned on its own vectors.
            on_progress: Called with (vectors added, vectors in all).
        """
        kind = kind_of(wish.chosen(len(vectors)))
        index = kind.build(vectors, metric=wish.metric, seed=wish.seed, on_progress=on_progress)
        if wish.gpu:
            index.to_gpu()
        built = VectorIndex(index, vectors)
        if len(index.efforts()) > 1:
            on = "vectors" if queries is None else "users"
            built.measured = tune(built, vectors if queries is None else queries, wish.recall, on)
        return built

    @staticmethod
    def again(
        kind: type[FaissIndex],
        spec: Spec,
        effort: Effort,
        vectors: Shaped[ndarray, "n dim"],
        measured: Measured | None = None,
    ) -> VectorIndex:
        """An index as another one was: of its kind, metric and seed, looking as hard as it did.

        Args:
            kind: Kind of the other one.
            spec: Its metric and seed.
            effort: Its effort.
            vectors: At least one.
            measured: What tuning found for it.

        Raises:
            DataError: The effort is that of another kind.
        """
        index = kind.build(vectors, metric=spec.metric, seed=spec.seed)
        index.set_effort(effort)
        return VectorIndex(index, vectors, measured)

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
        return facts | ({"measured": self.measured.facts()} if self.measured else {})
