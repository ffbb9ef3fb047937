"""What every FAISS index here is to the layers above: one class, of which each kind fills in a few methods.

Positions are 0 to n-1 in the order of the vectors. The score is the inner product; for ``cosine`` vectors and queries are
scaled to length 1 first (zeros stay zeros, and score 0 with everything).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, Self, get_args

import numpy as np
from jaxtyping import Float32, Int64, Shaped
from numpy import ndarray

from usermodel.ann.library import damaged, faiss, read, require_gpu
from usermodel.errors import ConfigError, DataError, NumericError, nearest

Metric = Literal["inner-product", "cosine"]
Effort = Mapping[str, int]
OnProgress = Callable[[int, int], None]
#: Vectors added at once: between two blocks progress is told and Ctrl-C is heard.
_BLOCK: Final = 1 << 15
#: On a GPU, FAISS finds no more neighbours and looks into no more lists than this.
_GPU_MOST: Final = 2048


@dataclass(frozen=True)
class Spec:
    """What an index is asked to be, beside its vectors.

    Attributes:
        dim: Width of the vectors.
        n: How many there will be.
        metric: What a score is.
        seed: Of everything that is drawn at random.
    """

    dim: int
    n: int
    metric: Metric = "inner-product"
    seed: int = 0


class FaissIndex(ABC):
    """An index of one kind.

    Attributes:
        kind: Its name on the command line and in manifests.
        fourcc: How its files begin.
        approximate_scores: Scores are computed from codes; who has the vectors computes those of the best again.
        on_gpu: FAISS has this kind for GPUs.
        spec: Width, number of vectors, metric, seed.
        effort: How hard a search looks: values of the parameters that `efforts` names.
    """

    kind: ClassVar[str]
    fourcc: ClassVar[bytes]
    approximate_scores: ClassVar[bool] = False
    on_gpu: ClassVar[bool] = True

    def __init__(self, index: Any, spec: Spec) -> None:
        self._index, self.spec = index, spec
        self._gpu: Any = None
        self._resources: Any = None
        self._pointer = faiss().swig_ptr
        self.effort: Effort = {}
        self.set_effort(self.efforts()[0])

    @classmethod
    @abstractmethod
    def make(cls, spec: Spec, sample: Float32[ndarray, "m dim"]) -> Any:
        """An empty FAISS index, trained on a sample where the kind needs training."""

    @classmethod
    def n_training(cls, spec: Spec) -> int:  # noqa: ARG003 (kinds that train look at it)
        """Vectors that `make` wants to see."""
        return 0

    @abstractmethod
    def efforts(self) -> list[Effort]:
        """What to try, in an order that no clock decides: from the least work for a query to the most thorough.

        The first is what an index has before tuning.
        """

    def apply(self, index: Any, effort: Effort) -> None:  # noqa: B027 (brute force has nothing to set)
        """Set the parameters of FAISS for the next search."""

    @abstractmethod
    def check(self, path: Path) -> None:
        """Raise `IntegrityError` for a file whose parts do not fit each other: FAISS would read beyond its memory."""

    @classmethod
    def build(
        cls,
        vectors: Shaped[ndarray, "n dim"],
        *,
        metric: Metric = "inner-product",
        seed: int = 0,
        on_progress: OnProgress | None = None,
    ) -> Self:
        """Index ``vectors`` (float32 or float16).

        Args:
            vectors: At least one.
            metric: What a score is.
            seed: Of training samples and clusters. HNSW graphs of several threads differ in a few links all the same.
            on_progress: Called with (vectors added, vectors in all).

        Raises:
            NumericError: A vector is not finite.
            DataError: There is no vector, or they are no matrix.
            ConfigError: No such metric.
        """
        if metric not in get_args(Metric):
            raise ConfigError(
                "metric",
                expected="a known metric",
                found=repr(metric),
                do=nearest(str(metric), get_args(Metric)),
            )
        if vectors.ndim != 2 or 0 in vectors.shape:
            raise DataError(
                "index", expected="vectors [n, dim] with n > 0", found=str(vectors.shape), do="Pass some."
            )
        n, dim = vectors.shape
        spec = Spec(dim, n, metric, seed)
        wanted = cls.n_training(spec)
        rows = np.arange(n)
        if wanted < n:
            rows = np.sort(np.random.default_rng(seed).choice(n, wanted, replace=False))
        index = cls.make(spec, _prepared(vectors[rows], metric, "index"))
        for start in range(0, n, _BLOCK):
            index.add(_prepared(vectors[start : start + _BLOCK], metric, "index"))
            if on_progress is not None:
                on_progress(min(start + _BLOCK, n), n)
        return cls(index, spec)

    def __len__(self) -> int:
        return self.spec.n

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({len(self):,} x {self.spec.dim}, {self.spec.metric}, {dict(self.effort)})"
        )

    def set_effort(self, effort: Effort) -> None:
        """Look this hard from now on.

        Raises:
            DataError: Other parameters, or values below 1.
        """
        names = set(self.efforts()[0])
        if set(effort) != names or any(not isinstance(one, int) or one < 1 for one in effort.values()):
            expected = f"whole numbers from 1 for {', '.join(sorted(names)) or 'nothing'}"
            raise DataError(f"search of {self.kind}", expected=expected, found=f"{effort}", do="Correct it.")
        self.effort = dict(effort)
        for index in (self._index, self._gpu):
            if index is not None:
                self.apply(index, effort)

    def to_gpu(self) -> None:
        """Search on the first GPU from now on.

        Raises:
            ConfigError: FAISS has no GPU, or not this kind for one.
        """
        require_gpu()
        if not self.on_gpu:
            do = "Choose --type flat, ivf-flat or ivf-pq, or drop --gpu."
            raise ConfigError("gpu", expected="a kind that FAISS has for GPUs", found=f"{self.kind}", do=do)
        module = faiss()
        resources = module.StandardGpuResources()
        try:
            gpu = module.index_cpu_to_gpu(resources, 0, self._index)
        except RuntimeError as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            do = "Choose --type flat or ivf-flat, drop --gpu, or free memory of the GPU."
            raise ConfigError(
                "gpu", expected="an index that FAISS can copy there", found=lines[-1][:80], do=do
            ) from None
        # The index works in memory that the resources own.
        self._gpu, self._resources = gpu, resources
        self.apply(self._gpu, self.effort)

    def prepare(self, queries: Shaped[ndarray, "m dim"]) -> Float32[ndarray, "m dim"]:
        """Queries as FAISS wants them: float32, contiguous, of length 1 for cosine.

        Raises:
            DataError: Another width.
            NumericError: A query is not finite.
        """
        if queries.ndim != 2 or queries.shape[1] != self.spec.dim:
            found = f"vectors of width {queries.shape[-1]}"
            expected, do = f"vectors of width {self.spec.dim}", "Use one encoder for both."
            raise DataError("queries", expected=expected, found=found, do=do)
        return _prepared(queries, self.spec.metric, "queries")

    def search(
        self, queries: Shaped[ndarray, "m dim"], k: int
    ) -> tuple[Float32[ndarray, "m k"], Int64[ndarray, "m k"]]:
        """The ``k`` best positions of each query and their scores, best first; ``k`` is capped at ``len(self)``.

        Where an approximate search finds fewer, the rest has position -1 and a score below all others.
        """
        return self.find(self.prepare(queries), k)

    def find(
        self, queries: Float32[ndarray, "m dim"], k: int
    ) -> tuple[Float32[ndarray, "m k"], Int64[ndarray, "m k"]]:
        """`search` for queries that `prepare` has seen."""
        k = min(k, self.spec.n)
        index = self._index
        if self._gpu is not None and max(k, self.effort.get("nprobe", 1)) <= _GPU_MOST:
            index = self._gpu
        # The pointer carries neither type nor width.
        queries, pointer = np.ascontiguousarray(queries, dtype=np.float32), self._pointer
        m = len(queries)
        assert queries.shape == (m, self.spec.dim)
        scores = np.empty((m, k), dtype=np.float32)
        positions = np.empty((m, k), dtype=np.int64)
        # Past FAISS's Python wrapper, which looks at shapes and types once more: a graph answers within 100 microseconds.
        index.search_c(m, pointer(queries), k, pointer(scores), pointer(positions))
        return scores, positions

    def save(self, path: Path) -> None:
        """Write the FAISS file. It is a cache: the vectors live in a table with checksums."""
        faiss().write_index(self._index, str(path))

    @classmethod
    def load(cls, path: Path, spec: Spec) -> Self:
        """Read a FAISS file whose sha256 was compared.

        Args:
            path: The file.
            spec: What its manifest says it holds.

        Raises:
            IntegrityError: Not this kind of index, of other sizes, or one that FAISS could not search safely.
        """
        index = read(path, cls.fourcc)
        found = index.ntotal, index.d, index.metric_type, index.is_trained
        expected = spec.n, spec.dim, faiss().METRIC_INNER_PRODUCT, True
        if found != expected:
            raise damaged(path, f"(vectors, width, metric, trained) = {expected}", found)
        loaded = cls(index, spec)
        loaded.check(path)
        return loaded


def _prepared(vectors: Shaped[ndarray, "m dim"], metric: Metric, where: str) -> Float32[ndarray, "m dim"]:
    wide: ndarray = np.ascontiguousarray(vectors, dtype=np.float32)
    # Finite squares have finite parts; where their sum has grown too large, the parts themselves are looked at.
    if not math.isfinite(np.vdot(wide, wide)) and not np.isfinite(wide).all():
        do = "Look at the training loss."
        raise NumericError(where, expected="finite vectors", found="NaN or infinity", do=do)
    if metric == "cosine":
        length = np.linalg.norm(wide.astype(np.float64), axis=1, keepdims=True)
        wide = (wide / np.where(length > 0, length, 1)).astype(np.float32)
    return wide
