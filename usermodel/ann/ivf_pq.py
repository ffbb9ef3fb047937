"""Inverted lists of product-quantised codes (Jégou, Douze and Schmid 2011): a byte for every two numbers of a vector.

Scores come from codes, so that whoever has the vectors lets the best of many candidates be scored again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from usermodel.ann.base import Effort, FaissIndex, Spec
from usermodel.ann.checks import values
from usermodel.ann.inverted import check_lists, n_lists, probes, settle, training_size
from usermodel.ann.library import damaged, faiss

_BITS: Final = 8
_WORDS: Final = 1 << _BITS
#: Candidates scored again, for each that is wanted.
_RESCORED: Final = (4, 16, 64)
#: Bytes of codes that are scanned in the time that it takes to score one byte of ten scattered vectors; measured on a processor.
_SCATTERED: Final = 25


class IvfPqIndex(FaissIndex):
    """FAISS's IndexIVFPQ."""

    kind: ClassVar[str] = "ivf-pq"
    fourcc: ClassVar[bytes] = b"IwPQ"
    approximate_scores: ClassVar[bool] = True

    @classmethod
    def n_training(cls, spec: Spec) -> int:
        """See `FaissIndex.n_training`."""
        return max(training_size(spec), _FEWEST_WORDS)

    @classmethod
    def make(cls, spec: Spec, sample: Float32[ndarray, "m dim"]) -> Any:
        """See `FaissIndex.make`."""
        module = faiss()
        centres = module.IndexFlatIP(spec.dim)
        metric = module.METRIC_INNER_PRODUCT
        index = module.IndexIVFPQ(centres, spec.dim, n_lists(spec), _parts(spec.dim), _BITS, metric)
        settle(index, centres, spec)
        index.pq.cp.seed = spec.seed + 1234
        index.pq.cp.min_points_per_centroid = 1
        # As many vectors as code words at least: few are repeated.
        index.train(np.resize(sample, (max(len(sample), _WORDS), spec.dim)))
        return index

    def efforts(self) -> list[Effort]:
        """Lists that a search looks into; candidates scored again for each that is wanted. Ordered by the bytes these take."""
        lists, dim = n_lists(self.spec), self.spec.dim
        code, vector = _parts(dim) * self.spec.n / lists, 4 * dim * _SCATTERED
        tried = [(one, many) for many in _RESCORED for one in probes(lists)]
        ordered = sorted(tried, key=lambda pair: (pair[0] * code + pair[1] * vector, pair))
        return [{"nprobe": one, "rescored": many} for one, many in ordered]

    def apply(self, index: Any, effort: Effort) -> None:
        """See `FaissIndex.apply`."""
        index.nprobe = effort["nprobe"]

    def check(self, path: Path) -> None:
        """See `FaissIndex.check`."""
        parts, dim = _parts(self.spec.dim), self.spec.dim
        check_lists(self._index, self.spec, parts, path)
        pq = self._index.pq
        words = values(pq.centroids)
        found = pq.d, pq.M, pq.nbits, pq.dsub, pq.ksub, pq.code_size, len(words)
        expected = dim, parts, _BITS, dim // parts, _WORDS, parts, _WORDS * dim
        if found != expected or not np.isfinite(words).all():
            raise damaged(path, f"code words of sizes {expected}", found)


#: What FAISS's k-means asks for.
_FEWEST_WORDS: Final = 39 * _WORDS


def _parts(dim: int) -> int:
    """The largest divisor of the width that gives every part two numbers at least."""
    return max(part for part in range(1, max(dim // 2, 1) + 1) if dim % part == 0)
