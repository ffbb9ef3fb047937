"""Vectors as one ``.npy`` matrix, which numpy maps into memory; ids and facts in a Parquet file beside it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import polars as pl
from jaxtyping import Int64
from numpy import ndarray

from usermodel.embedding_files.precision import Stored
from usermodel.embedding_files.rows import Rows, Writer
from usermodel.errors import IntegrityError
from usermodel.events.parquet import read_parquet, write_parquet
from usermodel.store.arrays import load_array

SCALE: Final = "embedding_scale"
#: Room for the header, which is written again once the number of rows is known.
_HEADER: Final = 128
_AGAIN: Final = "Embed again."


class NpyWriter(Writer):
    """``NAME.npy`` and ``NAME.ids.parquet``."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path, self._ids = folder / f"{name}.npy", folder / f"{name}.ids.parquet"
        self._file: IO[bytes] | None = None
        self._shape: tuple[int, ...] = ()
        self._dtype = np.dtype(np.float32)
        self._facts: list[pl.DataFrame] = []

    def add(self, rows: Rows) -> None:
        """See `usermodel.embedding_files.rows.Writer`."""
        stored = rows.stored
        if self._file is None:
            self._file = self.path.open("wb")
            self._file.write(bytes(_HEADER))
        self._shape, self._dtype = stored.values.shape[1:], stored.values.dtype
        self._file.write(np.ascontiguousarray(stored.values).data)
        scale = [] if stored.scale is None else [pl.Series(SCALE, stored.scale)]
        self._facts.append(pl.DataFrame([rows.ids, *rows.columns.get_columns(), *scale]))

    def complete(self) -> None:
        """See `usermodel.embedding_files.rows.Writer`."""
        if self._file is None:
            return
        facts = pl.concat(self._facts)
        header: dict[str, Any] = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (facts.height, *self._shape),
        }
        self._file.seek(0)
        self._file.write(_header(header))
        self._file.close()
        write_parquet(facts, self._ids)

    def discard(self) -> None:
        """See `usermodel.embedding_files.rows.Writer`."""
        if self._file is not None:
            # What is still in the buffer is refused once more by a full disk.
            with contextlib.suppress(OSError):
                self._file.close()


def _header(facts: dict[str, Any]) -> bytes:
    """Of format 1.0, of always the same length; numpy allows blanks at the end."""
    text = repr(facts).encode("latin1")
    size = _HEADER - 10
    assert len(text) < size, "a header longer than the room for it"
    return b"\x93NUMPY\x01\x00" + size.to_bytes(2, "little") + text.ljust(size - 1) + b"\n"


class NpyReader:
    """See `usermodel.embedding_files.rows.Reader`.

    Raises:
        IntegrityError: Files that do not fit each other.
    """

    def __init__(self, folder: Path, name: str) -> None:
        path = folder / f"{name}.npy"
        frame = read_parquet(folder / f"{name}.ids.parquet")
        # An empty file cannot be mapped.
        values = load_array(path, _AGAIN, mmap_mode="r" if frame.height else None)
        needs_scale = values.dtype == np.int8
        scale = frame[SCALE].to_numpy() if SCALE in frame.columns else None
        kinds = (np.float32, np.float16, np.int8)
        if (
            values.ndim < 2
            or len(values) != frame.height
            or values.dtype not in kinds
            or needs_scale != (scale is not None)
        ):
            found = f"{values.dtype} {values.shape}"
            raise IntegrityError(str(path), expected=f"{frame.height:,} vectors", found=found, do=_AGAIN)
        first = frame.columns[0]
        self.ids = frame[first]
        self.columns = frame.drop(first, *([SCALE] if needs_scale else []))
        self._stored = Stored(values, scale)

    def take(self, rows: Int64[ndarray, " n"]) -> Stored:
        """See `usermodel.embedding_files.rows.Reader`."""
        return self._stored.take(rows)

    def all(self) -> Stored:
        """See `usermodel.embedding_files.rows.Reader`."""
        return self._stored
