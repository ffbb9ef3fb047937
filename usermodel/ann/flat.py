"""Brute force over all vectors: exact, no training, the reference for everything faster."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from jaxtyping import Float32
from numpy import ndarray

from usermodel.ann.base import Effort, FaissIndex, Spec
from usermodel.ann.checks import check_flat
from usermodel.ann.library import faiss


class FlatIndex(FaissIndex):
    """FAISS's IndexFlatIP."""

    kind: ClassVar[str] = "flat"
    fourcc: ClassVar[bytes] = b"IxFI"

    @classmethod
    def make(cls, spec: Spec, sample: Float32[ndarray, "m dim"]) -> Any:  # noqa: ARG003 (nothing to train)
        """See `FaissIndex.make`."""
        return faiss().IndexFlatIP(spec.dim)

    def efforts(self) -> list[Effort]:
        """There is nothing to choose."""
        return [{}]

    def check(self, path: Path) -> None:
        """See `FaissIndex.check`."""
        check_flat(self._index, self.spec.n, self.spec.dim, path)
