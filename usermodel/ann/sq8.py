"""Brute force over vectors whose numbers are a byte each: a quarter of the memory, all vectors looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from usermodel.ann.base import Effort, FaissIndex, Spec
from usermodel.ann.checks import values
from usermodel.ann.library import damaged, faiss

_TRAINING: Final = 1 << 18


class Sq8Index(FaissIndex):
    """FAISS's IndexScalarQuantizer with a range for each coordinate."""

    kind: ClassVar[str] = "sq8"
    fourcc: ClassVar[bytes] = b"IxSQ"
    approximate_scores: ClassVar[bool] = True
    on_gpu: ClassVar[bool] = False

    @classmethod
    def n_training(cls, spec: Spec) -> int:  # noqa: ARG003 (ranges need no more for more vectors)
        """See `FaissIndex.n_training`."""
        return _TRAINING

    @classmethod
    def make(cls, spec: Spec, sample: Float32[ndarray, "m dim"]) -> Any:
        """See `FaissIndex.make`."""
        module = faiss()
        kind = module.ScalarQuantizer.QT_8bit
        index = module.IndexScalarQuantizer(spec.dim, kind, module.METRIC_INNER_PRODUCT)
        index.train(sample)
        return index

    def efforts(self) -> list[Effort]:
        """Candidates scored again for each that is wanted."""
        return [{"rescored": one} for one in (2, 4, 8, 16)]

    def check(self, path: Path) -> None:
        """See `FaissIndex.check`."""
        module, dim, n = faiss(), self.spec.dim, self.spec.n
        sq = self._index.sq
        ranges = values(sq.trained)
        found = sq.qtype, sq.d, sq.code_size, self._index.codes.size(), len(ranges)
        expected = module.ScalarQuantizer.QT_8bit, dim, dim, n * dim, 2 * dim
        if found != expected or not np.isfinite(ranges).all():
            raise damaged(path, f"codes of sizes {expected}", found)
