"""Exact nearest neighbours by inner product, through FAISS, on numpy arrays."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from usermodel.errors import DataError, IntegrityError, MissingError, NumericError

_LOOPS = 1 << 20


def faiss() -> ModuleType:
    """The FAISS module, or a message that names the extras.

    Raises:
        MissingError: FAISS is not installed.
    """
    try:
        import faiss as module
    except ImportError:
        do = "Install it with: pip install 'usermodel[cpu]' (or usermodel[gpu]; the two exclude each other)."
        raise MissingError("faiss", expected="the FAISS library", found="no such module", do=do) from None
    found: ModuleType = module
    return found


class FlatIndex:
    """Brute force over all vectors: exact, no training, the reference for everything faster.

    Positions are 0 to n-1 in the order of the vectors.
    """

    def __init__(self, index: Any) -> None:
        self._index = index

    @staticmethod
    def build(vectors: Float32[ndarray, "n dim"]) -> FlatIndex:
        """Index ``vectors`` for search by inner product.

        Raises:
            NumericError: A vector is not finite.
            DataError: There is no vector.
        """
        if vectors.ndim != 2 or not len(vectors):
            raise DataError(
                "index", expected="vectors [n, dim] with n > 0", found=str(vectors.shape), do="Pass some."
            )
        if not np.isfinite(vectors).all():
            raise NumericError(
                "index", expected="finite vectors", found="NaN or infinity", do="Look at the training loss."
            )
        index = faiss().IndexFlatIP(vectors.shape[1])
        index.add(np.ascontiguousarray(vectors, dtype=np.float32))
        return FlatIndex(index)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return int(self._index.d)

    def search(
        self, queries: Float32[ndarray, "m dim"], k: int
    ) -> tuple[Float32[ndarray, "m k"], Int64[ndarray, "m k"]]:
        """The ``k`` best positions of each query and their inner products, best first; ``k`` is capped at ``len(self)``."""
        if queries.shape[1] != self.dim:
            found = f"vectors of width {queries.shape[1]}"
            raise DataError(
                "queries",
                expected=f"vectors of width {self.dim}",
                found=found,
                do="Use one encoder for both.",
            )
        scores, positions = self._index.search(
            np.ascontiguousarray(queries, dtype=np.float32), min(k, len(self))
        )
        return scores, positions

    def vectors(self) -> Float32[ndarray, "n dim"]:
        """All vectors, in order."""
        return np.asarray(self._index.reconstruct_n(0, len(self)))

    def save(self, path: Path) -> None:
        """Write the FAISS file. It is a cache: the vectors live in a table with checksums."""
        faiss().write_index(self._index, str(path))

    @staticmethod
    def load(path: Path) -> FlatIndex:
        """Read a FAISS file.

        A damaged file may claim any size, so what FAISS may allocate is bounded by the size of the file. Check the
        sha256 first: FAISS itself notices less than half of all damage.

        Raises:
            IntegrityError: Not a flat FAISS index.
        """
        module = faiss()
        if hasattr(module, "set_deserialization_vector_byte_limit"):
            module.set_deserialization_vector_byte_limit(2 * path.stat().st_size + (1 << 20))
            module.set_deserialization_loop_limit(_LOOPS)
        try:
            index = module.read_index(str(path))
        except (RuntimeError, MemoryError) as error:
            found = str(error).strip().splitlines()[-1][:80]
            raise IntegrityError(
                str(path), expected="a FAISS index", found=found, do="Build it again."
            ) from None
        if not isinstance(index, module.IndexFlat) or index.metric_type != module.METRIC_INNER_PRODUCT:
            found = type(index).__name__
            raise IntegrityError(
                str(path), expected="a flat inner-product index", found=found, do="Build it again."
            )
        return FlatIndex(index)
