"""Parquet and Arrow files -> pieces, in batches of rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from usermodel.errors import DataError
from usermodel.events.piece import Piece, numbered, require_columns

BATCH_ROWS: Final = 1 << 18
#: What the parsers raise on damaged files; a panic of polars is no `Exception`.
_FAULTS: Final = (
    pa.ArrowException,
    OSError,
    ValueError,
    TypeError,
    MemoryError,
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,
)


def parquet(path: Path, wanted: list[str], root: Path | None = None) -> Iterator[Piece]:
    """Row groups of a Parquet file; where it has page checksums, a flipped bit is an error and not another number.

    Args:
        path: The file.
        wanted: Columns to read; some may be parts of the path, ``.../name=value/...`` below ``root``.
        root: Folder that was named by the caller.
    """
    extra = hive(path, root)
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            names = file.schema_arrow.names
            require_columns(wanted, [*names, *extra], str(path))
            columns = [name for name in dict.fromkeys(wanted) if name in names]
            batches = file.iter_batches(BATCH_ROWS, columns=columns)
            yield from _pieces(batches, path, extra)
    except _FAULTS as error:
        raise _unreadable(path, "Parquet", error) from None


def arrow(path: Path, wanted: list[str]) -> Iterator[Piece]:
    """Record batches of an Arrow IPC file or stream (also known as Feather)."""
    try:
        with pa.OSFile(str(path)) as source:
            reader = _open(source)
            require_columns(wanted, reader.schema.names, str(path))
            columns = list(dict.fromkeys(wanted))
            yield from _pieces((batch.select(columns) for batch in _batches(reader)), path, {})
    except _FAULTS as error:
        raise _unreadable(path, "Arrow", error) from None


def _open(source: pa.OSFile) -> pa.ipc.RecordBatchFileReader | pa.ipc.RecordBatchStreamReader:
    try:
        return pa.ipc.open_file(source)
    except pa.ArrowInvalid:
        source.seek(0)
        return pa.ipc.open_stream(source)


def _batches(
    reader: pa.ipc.RecordBatchFileReader | pa.ipc.RecordBatchStreamReader,
) -> Iterator[pa.RecordBatch]:
    if isinstance(reader, pa.ipc.RecordBatchFileReader):
        yield from (reader.get_batch(number) for number in range(reader.num_record_batches))
    else:
        yield from reader


def _pieces(batches: Iterator[pa.RecordBatch], path: Path, extra: dict[str, str]) -> Iterator[Piece]:
    row = 1
    for batch in batches:
        # Damaged text is text no parser may touch.
        batch.validate(full=True)
        frame = pl.DataFrame(pl.from_arrow(batch)).with_columns(
            pl.lit(value).alias(name) for name, value in extra.items()
        )
        yield numbered(str(path), frame, row)
        row += frame.height


def hive(path: Path, root: Path | None) -> dict[str, str]:
    """``name=value`` folders between ``root`` and a file."""
    if root is None:
        return {}
    parts = [part.partition("=") for part in path.relative_to(root).parts[:-1]]
    return {name: value for name, equals, value in parts if equals}


def _unreadable(path: Path, kind: str, error: BaseException) -> DataError:
    if isinstance(error, DataError):
        return error
    found = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
    size = path.stat().st_size if path.is_file() else 0
    do = "Copy it again: it is damaged, cut off, or something else."
    return DataError(f"D002 {path}", expected=f"a whole {kind} file", found=f"{size:,} bytes: {found}", do=do)
