"""Vectors as a Parquet column of lists of fixed length, beside ids and facts: any reader of Parquet understands them."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int64, Shaped
from numpy import ndarray

from usermodel.embedding_files.precision import Stored
from usermodel.embedding_files.rows import Rows, Writer
from usermodel.errors import IntegrityError
from usermodel.events.parquet import read_parquet

COLUMN: Final = "embedding"
SCALE: Final = "embedding_scale"
_TYPES: Final = (pa.float32(), pa.float16(), pa.int8())


class ParquetWriter(Writer):
    """``NAME.parquet``: one row group for each block."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer: pq.ParquetWriter | None = None

    def add(self, rows: Rows) -> None:
        """See `usermodel.embedding_files.rows.Writer`."""
        table = to_arrow(rows)
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self.path, table.schema, compression="zstd", write_page_checksum=True, store_schema=True
            )
        self._writer.write_table(table, row_group_size=max(table.num_rows, 1))

    def complete(self) -> None:
        """See `usermodel.embedding_files.rows.Writer`."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.close()

    def discard(self) -> None:
        """See `usermodel.embedding_files.rows.Writer`."""
        # Closing writes what the format ends with, which a full disk refuses once more.
        with contextlib.suppress(OSError):
            self.complete()


def to_arrow(rows: Rows) -> pa.Table:
    """Columns: id, further facts, ``embedding``, and for int8 ``embedding_scale``."""
    table = pl.DataFrame([rows.ids, *rows.columns.get_columns()]).to_arrow()
    table = table.append_column(COLUMN, _lists(rows.stored.values))
    if rows.stored.scale is not None:
        table = table.append_column(SCALE, pa.array(rows.stored.scale))
    return table


def _lists(values: Shaped[ndarray, "n ..."]) -> pa.FixedSizeListArray:
    array = pa.array(np.ascontiguousarray(values).reshape(-1))
    for size in reversed(values.shape[1:]):
        array = pa.FixedSizeListArray.from_arrays(array, size)
    return array


class ParquetReader:
    """See `usermodel.embedding_files.rows.Reader`; the last row group that was read stays in memory.

    Raises:
        IntegrityError: No table of vectors, or a damaged one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = pq.ParquetFile(path, page_checksum_verification=True)
            schema, facts = self._file.schema_arrow, self._file.metadata
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self._damaged("an intact Parquet file", f"{error!s:.80}") from None
        self._shape = self._shape_of(schema)
        names = [name for name in schema.names if name not in {COLUMN, SCALE}]
        frame = read_parquet(path, names)
        self.ids, self.columns = frame[names[0]], frame.drop(names[0])
        sizes = [facts.row_group(group).num_rows for group in range(facts.num_row_groups)]
        self._first = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        scale = np.zeros(0, dtype=np.float32) if SCALE in schema.names else None
        self._group, self._held = -1, Stored(np.zeros((0, *self._shape), dtype=self._kind), scale)

    def _shape_of(self, schema: pa.Schema) -> tuple[int, ...]:
        kind, shape = schema.field(COLUMN).type if COLUMN in schema.names else pa.null(), []
        while pa.types.is_fixed_size_list(kind):
            shape.append(kind.list_size)
            kind = kind.value_type
        needs_scale = kind == pa.int8()
        if not shape or kind not in _TYPES or len(schema.names) < 2 or needs_scale != (SCALE in schema.names):
            raise self._damaged(f"ids and a column {COLUMN!r} of vectors", ", ".join(schema.names))
        self._kind = kind.to_pandas_dtype()
        return tuple(shape)

    def take(self, rows: Int64[ndarray, " n"]) -> Stored:
        """See `usermodel.embedding_files.rows.Reader`."""
        group = np.searchsorted(self._first, rows, side="right") - 1
        parts = [self._read(int(one)).take(rows[group == one] - self._first[one]) for one in np.unique(group)]
        return _joined(parts) if parts else self._held.take(slice(0, 0))

    def all(self) -> Stored:
        """See `usermodel.embedding_files.rows.Reader`."""
        return self.take(np.arange(len(self.ids)))

    def _read(self, group: int) -> Stored:
        if group == self._group:
            return self._held
        try:
            names = [name for name in (COLUMN, SCALE) if name in self._file.schema_arrow.names]
            table = self._file.read_row_group(group, columns=names).combine_chunks()
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self._damaged("intact rows", f"{error!s:.80}") from None
        array = table[COLUMN].combine_chunks()
        if array.null_count:
            raise self._damaged("a vector in every row", f"{array.null_count:,} rows without one")
        for _ in self._shape:
            array = array.flatten()
        values = array.to_numpy(zero_copy_only=False).reshape(-1, *self._shape)
        scale = table[SCALE].to_numpy() if SCALE in names else None
        self._group, self._held = group, Stored(values, scale)
        return self._held

    def _damaged(self, expected: str, found: str) -> IntegrityError:
        return IntegrityError(str(self.path), expected=expected, found=found, do="Embed again.")


def _joined(parts: list[Stored]) -> Stored:
    if len(parts) == 1:
        return parts[0]
    scales = [part.scale for part in parts if part.scale is not None]
    values = np.concatenate([part.values for part in parts])
    return Stored(values, np.concatenate(scales) if scales else None)
