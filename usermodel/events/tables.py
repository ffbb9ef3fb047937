"""Parquet and Arrow files -> pieces, in batches of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from usermodel.errors import DataError, UserModelError
from usermodel.events.piece import Piece, numbered, require_columns
from usermodel.events.sources import LogFile

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


def parquet(source: LogFile, wanted: list[str]) -> Iterator[Piece]:
    """Row groups of a Parquet file; where it has page checksums, a flipped bit is an error and not another number.

    Args:
        source: The file.
        wanted: Columns to read; some may be parts of the path below the folder that was named, ``.../name=value/...``.
    """
    extra = hive(source.inside)
    try:
        with source.open() as handle, pq.ParquetFile(handle, page_checksum_verification=True) as file:
            names = file.schema_arrow.names
            require_columns(wanted, [*names, *extra], str(source))
            columns = [name for name in dict.fromkeys(wanted) if name in names]
            batches = file.iter_batches(BATCH_ROWS, columns=columns)
            rows = max(file.metadata.num_rows, 1)
            yield from _pieces(batches, source, extra, lambda _, done: source.size * done // rows)
    except _FAULTS as error:
        raise _unreadable(source, "Parquet", error) from None


def arrow(source: LogFile, wanted: list[str]) -> Iterator[Piece]:
    """Record batches of an Arrow IPC file or stream (also known as Feather)."""
    try:
        with source.open() as handle:
            reader = _open(handle)
            require_columns(wanted, reader.schema.names, str(source))
            columns = list(dict.fromkeys(wanted))
            batches = (batch.select(columns) for batch in _batches(reader))
            # A file is read by places that it names, and a stream from its beginning to its end.
            n = getattr(reader, "num_record_batches", 0)
            yield from _pieces(
                batches, source, {}, lambda done, _: source.size * done // n if n else handle.tell()
            )
    except _FAULTS as error:
        raise _unreadable(source, "Arrow", error) from None


def _open(source: Any) -> pa.ipc.RecordBatchFileReader | pa.ipc.RecordBatchStreamReader:
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


def _pieces(
    batches: Iterator[pa.RecordBatch],
    file: LogFile,
    extra: dict[str, str],
    place: Callable[[int, int], int],
) -> Iterator[Piece]:
    """Batches as pieces; ``place`` is the number of bytes read after so many batches and rows."""
    row = 1
    for number, batch in enumerate(batches, 1):
        # Damaged text is text no parser may touch.
        batch.validate(full=True)
        frame = pl.DataFrame(pl.from_arrow(batch)).with_columns(
            pl.lit(value).alias(name) for name, value in extra.items()
        )
        file.bytes_read = place(number, row - 1 + frame.height)
        yield numbered(str(file), frame, row)
        row += frame.height
    # Behind the last row stands what says so.
    file.bytes_read = file.size


def hive(inside: str) -> dict[str, str]:
    """``name=value`` folders in the path of a file."""
    parts = [part.partition("=") for part in inside.split("/")[:-1]]
    return {name: value for name, equals, value in parts if equals}


def _unreadable(file: LogFile, kind: str, error: BaseException) -> UserModelError:
    if file.fault is not None:
        return file.fault
    if isinstance(error, UserModelError):
        return error
    found = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
    do = "Copy it again: it is damaged, cut off, or something else."
    return DataError(
        f"D002 {file}", expected=f"a whole {kind} file", found=f"{file.size:,} bytes: {found}", do=do
    )
