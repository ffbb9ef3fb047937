"""A navigable small-world graph (Malkov and Yashunin 2018, arXiv:1603.09320) over full vectors.

The graph is built on inner products as they are. The augmentation that turns them into distances (one further coordinate
that gives all vectors one length, Bachrach et al. 2014) was tried on simulated items whose lengths grow with popularity: at
efSearch 256 recall@10 fell from 0.98 to 0.44, because that coordinate dominates the distances between items.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Final

from jaxtyping import Float32
from numpy import ndarray

from usermodel.ann.base import Effort, FaissIndex, Spec
from usermodel.ann.checks import check_flat, check_graph
from usermodel.ann.library import damaged, faiss

#: Links a node and level (twice as many at the bottom), and candidates while building.
_LINKS: Final = 32
_CANDIDATES: Final = 100
_EF: Final = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)


class HnswIndex(FaissIndex):
    """FAISS's IndexHNSWFlat. No vector can be removed: build it again."""

    kind: ClassVar[str] = "hnsw"
    fourcc: ClassVar[bytes] = b"IHNf"
    on_gpu: ClassVar[bool] = False

    @classmethod
    def make(cls, spec: Spec, sample: Float32[ndarray, "m dim"]) -> Any:  # noqa: ARG003 (nothing to train)
        """See `FaissIndex.make`."""
        module = faiss()
        index = module.IndexHNSWFlat(spec.dim, _LINKS, module.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = _CANDIDATES
        index.hnsw.rng = module.RandomGenerator(spec.seed + 12345)
        return index

    def efforts(self) -> list[Effort]:
        """Candidates that a search keeps."""
        return [{"efSearch": one} for one in _EF]

    def apply(self, index: Any, effort: Effort) -> None:
        """See `FaissIndex.apply`."""
        index.hnsw.efSearch = effort["efSearch"]

    def check(self, path: Path) -> None:
        """See `FaissIndex.check`."""
        module = faiss()
        storage = module.downcast_index(self._index.storage)
        if not isinstance(storage, module.IndexFlat):
            raise damaged(path, "full vectors under the graph", type(storage).__name__)
        check_flat(storage, self.spec.n, self.spec.dim, path)
        check_graph(self._index.hnsw, self.spec.n, path)
