"""Vectors as they are stored: float32, float16, or int8 with one scale a row; and what that loses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from jaxtyping import Float32, Shaped
from numpy import ndarray

from usermodel.errors import NumericError

Dtype = Literal["float32", "float16", "int8"]
#: Codes of int8 run from -127 to 127, so that a vector and its negative lose alike.
LEVELS: Final = 127
#: Beyond this float16 has no finite number.
_HALF_MAX: Final = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Stored:
    """Vectors in the type of a file.

    Attributes:
        values: ``[n, dim]`` (or ``[n, interests, dim]``) of float32, float16 or int8.
        scale: For int8, what a row is multiplied by.
    """

    values: Shaped[ndarray, "n ..."]
    scale: Float32[ndarray, " n"] | None = None

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: Any) -> Stored:
        """The rows of an index or a slice."""
        return Stored(self.values[rows], None if self.scale is None else self.scale[rows])

    def vectors(self) -> Shaped[ndarray, "n ..."]:
        """float16 and float32 as they are, without a copy; int8 as float32."""
        if self.scale is None:
            return self.values
        wide: ndarray = self.values.astype(np.float32)
        wide *= self.scale.reshape(-1, *[1] * (wide.ndim - 1))
        return wide


def store(vectors: Shaped[ndarray, "n ..."], dtype: Dtype) -> Stored:
    """Vectors in another type.

    int8 is symmetric and linear: ``round(v / scale)``, with ``scale = max |v| / 127`` of the row; the error of an entry
    is at most half of that. A row of zeros has the scale 0.

    Raises:
        NumericError: A vector that is not finite, or too large for float16.
    """
    vectors = np.asarray(vectors)
    most = float(np.abs(vectors).max(initial=0.0))
    if not np.isfinite(most):
        do = "Look at the training loss."
        raise NumericError("embeddings", expected="finite vectors", found="NaN or infinity", do=do)
    if dtype == "float32":
        return Stored(np.ascontiguousarray(vectors, dtype=np.float32))
    if dtype == "float16":
        if most > _HALF_MAX:
            do = "Store them as float32, or normalize them."
            raise NumericError(
                "embeddings",
                expected=f"entries up to {_HALF_MAX:,.0f} for float16",
                found=f"{most:,.0f}",
                do=do,
            )
        return Stored(np.ascontiguousarray(vectors, dtype=np.float16))
    flat = _flat(vectors).astype(np.float32)
    scale = np.abs(flat).max(axis=1, initial=0.0) / np.float32(LEVELS)
    # The scale of a row of the smallest numbers there are is itself rounded.
    codes = np.rint(flat / np.where(scale > 0, scale, 1)[:, None]).clip(-LEVELS, LEVELS)
    return Stored(codes.astype(np.int8).reshape(vectors.shape), scale)


def _flat(vectors: Shaped[ndarray, "n ..."]) -> Shaped[ndarray, "n numbers"]:
    return vectors.reshape(len(vectors), int(np.prod(vectors.shape[1:])))


def normalize(vectors: Shaped[ndarray, "n ..."]) -> Shaped[ndarray, "n ..."]:
    """Vectors of length 1, in float32; zeros stay zeros."""
    wide = np.asarray(vectors, dtype=np.float32)
    length = np.linalg.norm(wide, axis=-1, keepdims=True)
    out: ndarray = wide / np.where(length > 0, length, 1)
    return out


class Loss:
    """What a type has cost the rows of a file: those that were measured, and those that were copied from an older file."""

    def __init__(self) -> None:
        self._rows, self._error, self._cosine, self._cosine_sum = 0, 0.0, 1.0, 0.0
        self._carried = 0

    def add(self, vectors: Shaped[ndarray, "n ..."], stored: Stored) -> None:
        """Compare rows with what is left of them; rows of zeros lose nothing and do not count."""
        before = _flat(np.asarray(vectors, dtype=np.float64))
        after = _flat(stored.vectors().astype(np.float64))
        length = np.linalg.norm(before, axis=1)
        before, after, length = before[length > 0], after[length > 0], length[length > 0]
        if not len(before):
            return
        error = np.linalg.norm(after - before, axis=1) / length
        # A row that is lost altogether has no direction left.
        left = np.linalg.norm(after, axis=1)
        cosine = np.einsum("nd,nd->n", before, after) / (length * np.where(left > 0, left, 1))
        self._rows += len(before)
        self._error = max(self._error, float(error.max()))
        self._cosine = min(self._cosine, float(cosine.min()))
        self._cosine_sum += float(cosine.sum())

    def carry(self, rows: int, facts: Mapping[str, float | None]) -> None:
        """Count rows copied from a file whose `facts` these are: no worse than the worst there, and no more is known."""
        if rows:
            self._carried += rows
            self._error = max(self._error, facts.get("max_relative_error") or 0.0)
            least = facts.get("min_cosine")
            self._cosine = min(self._cosine, 1.0 if least is None else least)

    def facts(self) -> dict[str, float | None]:
        """For a manifest.

        Returns:
            ``rows`` measured and ``rows_carried`` from an older file, rows of zeros among the latter included; the largest
            relative error of a vector and the smallest cosine between before and after, as bounds where rows were
            carried; and the mean cosine of the rows measured, None where all were carried.
        """
        mean = None if self._carried else 1.0
        if self._rows:
            mean = round(self._cosine_sum / self._rows, 8)
        return {
            "rows": self._rows,
            "rows_carried": self._carried,
            "max_relative_error": round(self._error, 8),
            "min_cosine": round(self._cosine, 8),
            "mean_cosine": mean,
        }
