"""Inverted lists of full vectors: a search looks only into the lists whose centres are best for the query.

Lists are those of items, and users lie elsewhere: the number of lists to look into is tuned on users.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from jaxtyping import Float32
from numpy import ndarray

from usermodel.ann.base import Effort, FaissIndex, Spec
from usermodel.ann.inverted import check_lists, n_lists, probes, settle, training_size
from usermodel.ann.library import faiss


class IvfFlatIndex(FaissIndex):
    """FAISS's IndexIVFFlat."""

    kind: ClassVar[str] = "ivf-flat"
    fourcc: ClassVar[bytes] = b"IwFl"

    @classmethod
    def n_training(cls, spec: Spec) -> int:
        """See `FaissIndex.n_training`."""
        return training_size(spec)

    @classmethod
    def make(cls, spec: Spec, sample: Float32[ndarray, "m dim"]) -> Any:
        """See `FaissIndex.make`."""
        module = faiss()
        centres = module.IndexFlatIP(spec.dim)
        index = module.IndexIVFFlat(centres, spec.dim, n_lists(spec), module.METRIC_INNER_PRODUCT)
        settle(index, centres, spec)
        index.train(sample)
        return index

    def efforts(self) -> list[Effort]:
        """Lists that a search looks into."""
        return [{"nprobe": one} for one in probes(n_lists(self.spec))]

    def apply(self, index: Any, effort: Effort) -> None:
        """See `FaissIndex.apply`."""
        index.nprobe = effort["nprobe"]

    def check(self, path: Path) -> None:
        """See `FaissIndex.check`."""
        check_lists(self._index, self.spec, 4 * self.spec.dim, path)
