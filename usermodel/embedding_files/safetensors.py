"""Vectors, ids and facts as the tensors of one safetensors file: memory-mapped, and nothing in it can run.

Text is two tensors, ``NAME.bytes`` (UTF-8, end to end) and ``NAME.offsets``; columns of facts are ``column.NAME``, with
``.null`` beside those that have gaps. The format: 8 bytes of header length, a JSON header, the data.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
from jaxtyping import Int64
from numpy import ndarray
from safetensors import SafetensorError, safe_open

from usermodel.embedding_files.precision import Stored
from usermodel.embedding_files.rows import Rows, Writer
from usermodel.errors import DataError, IntegrityError

#: Room for the header, which is written last; the format allows blanks at its end.
_HEADER: Final = 1 << 13
_TYPES: Final = {
    "F32": np.float32,
    "F16": np.float16,
    "I8": np.int8,
    "F64": np.float64,
    "I16": np.int16,
    "U16": np.uint16,
    "U32": np.uint32,
    "U64": np.uint64,
    "I32": np.int32,
    "I64": np.int64,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
_CODES: Final = {np.dtype(kind): code for code, kind in _TYPES.items()}
_VALUES, _SCALE, _IDS, _COLUMN, _NULL = "embedding", "embedding_scale", "ids", "column.", ".null"


class SafetensorsWriter(Writer):
    """``NAME.safetensors``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None
        self._shape: tuple[int, ...] = ()
        self._dtype = np.dtype(np.float32)
        self._scales: list[ndarray] = []
        self._facts: list[pl.DataFrame] = []

    def add(self, rows: Rows) -> None:
        """See `usermodel.embedding_files.rows.Writer`."""
        stored = rows.stored
        if self._file is None:
            self._file = self.path.open("wb")
            self._file.write(bytes(8 + _HEADER))
        self._shape, self._dtype = stored.values.shape[1:], stored.values.dtype
        self._file.write(np.ascontiguousarray(stored.values).data)
        self._facts.append(pl.DataFrame([rows.ids, *rows.columns.get_columns()]))
        if stored.scale is not None:
            self._scales.append(stored.scale)

    def complete(self) -> None:
        """See `usermodel.embedding_files.rows.Writer`."""
        if self._file is None:
            return
        facts = pl.concat(self._facts)
        tensors = {_SCALE: np.concatenate(self._scales)} if self._scales else {}
        tensors |= _of_series(_IDS, facts[:, 0])
        for column in facts.get_columns()[1:]:
            tensors |= _of_series(_COLUMN + column.name, column)
        end = self._file.tell() - 8 - _HEADER
        header: dict[str, Any] = {
            "__metadata__": {"columns": json.dumps(facts.columns)},
            _VALUES: _entry(self._dtype, (facts.height, *self._shape), 0, end),
        }
        for name, values in tensors.items():
            self._file.write(np.ascontiguousarray(values).data)
            header[name] = _entry(values.dtype, values.shape, end, end + values.nbytes)
            end += values.nbytes
        text = json.dumps(header, separators=(",", ":")).encode()
        assert len(text) <= _HEADER, "a header longer than the room for it"
        self._file.seek(0)
        self._file.write(_HEADER.to_bytes(8, "little") + text.ljust(_HEADER))
        self._file.close()

    def discard(self) -> None:
        """See `usermodel.embedding_files.rows.Writer`."""
        if self._file is not None:
            # What is still in the buffer is refused once more by a full disk.
            with contextlib.suppress(OSError):
                self._file.close()


def _entry(dtype: np.dtype[Any], shape: tuple[int, ...], start: int, stop: int) -> dict[str, Any]:
    return {"dtype": _CODES[np.dtype(dtype)], "shape": list(shape), "data_offsets": [start, stop]}


def _of_series(name: str, column: pl.Series) -> dict[str, ndarray]:
    if column.dtype == pl.String:
        data = b"".join(text.encode() for text in column)
        ends = column.str.len_bytes().cast(pl.Int64).cum_sum().to_numpy()
        return {
            f"{name}.bytes": np.frombuffer(data, dtype=np.uint8),
            f"{name}.offsets": np.concatenate([[0], ends]).astype(np.int64),
        }
    gaps = column.is_null()
    if not (column.dtype.is_numeric() or column.dtype == pl.Boolean):
        do = "Cast it, or save as Parquet."
        raise DataError(column.name, expected="numbers, flags or text", found=f"{column.dtype}", do=do)
    filled = column.fill_null(False if column.dtype == pl.Boolean else 0).to_numpy()
    return {name: filled} | ({name + _NULL: gaps.to_numpy()} if gaps.any() else {})


class SafetensorsReader:
    """See `usermodel.embedding_files.rows.Reader`.

    Raises:
        IntegrityError: Not such a file, or tensors that do not fit each other.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            # The library proves the header first: every tensor inside the file, none over another.
            with safe_open(path, framework="numpy") as file:
                names = set(file.keys())
                tensors = {name: file.get_tensor(name) for name in names - {_VALUES}}
                metadata = file.metadata() or {}
            values = _mapped(path)
            first, *columns = json.loads(metadata["columns"])
            self.ids = _series(first, _IDS, tensors)
            self.columns = pl.DataFrame([_series(name, _COLUMN + name, tensors) for name in columns])
        except (SafetensorError, OSError, ValueError, LookupError, TypeError, pa.ArrowException) as error:
            raise self._damaged("a table of vectors", f"{error!s:.80}") from None
        scale = tensors.get(_SCALE)
        n, facts = len(self.ids), len(self.columns) if self.columns.width else len(self.ids)
        fits = (
            values.ndim >= 2
            and len(values) == n == facts
            and (scale is not None) == (values.dtype == np.int8)
        )
        if not fits or (scale is not None and scale.shape != (n,)):
            raise self._damaged(f"{n:,} vectors", f"{values.dtype} {values.shape}")
        self._stored = Stored(values, scale)

    def take(self, rows: Int64[ndarray, " n"]) -> Stored:
        """See `usermodel.embedding_files.rows.Reader`."""
        return self._stored.take(rows)

    def all(self) -> Stored:
        """See `usermodel.embedding_files.rows.Reader`."""
        return self._stored

    def _damaged(self, expected: str, found: str) -> IntegrityError:
        return IntegrityError(str(self.path), expected=expected, found=found, do="Embed again.")


def _mapped(path: Path) -> ndarray:
    """The matrix, as a read-only map of the file."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(size))[_VALUES]
    shape, kind = tuple(entry["shape"]), np.dtype(_TYPES[entry["dtype"]])
    if not np.prod(shape):
        return np.zeros(shape, dtype=kind)
    return np.memmap(path, dtype=kind, mode="r", offset=8 + size + entry["data_offsets"][0], shape=shape)


def _series(name: str, key: str, tensors: dict[str, ndarray]) -> pl.Series:
    if key in tensors:
        column = pl.Series(name, tensors[key])
        gaps = tensors.get(key + _NULL)
        return column if gaps is None else column.set(pl.Series(gaps), None)
    data, offsets = tensors[key + ".bytes"], tensors[key + ".offsets"]
    if offsets[0] != 0 or offsets[-1] != len(data) or bool((np.diff(offsets) < 0).any()):
        raise ValueError(f"offsets of {name} that leave its text")
    arrow = pa.LargeStringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(data))
    arrow.validate(full=True)
    return pl.Series(name, arrow)
