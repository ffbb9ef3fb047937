"""Readers: files and frames of any shape -> EventLog. Columns are named by the caller, never guessed in silence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, get_args

import polars as pl
import pyarrow as pa

from usermodel.errors import DataError
from usermodel.events import tables
from usermodel.events.delimited import Delimited
from usermodel.events.duplicates import drop_duplicates
from usermodel.events.event_log import EventLog
from usermodel.events.lines import json_lines, sequences
from usermodel.events.mapping import Columns, Mapper
from usermodel.events.piece import Piece, numbered, require_columns
from usermodel.events.reading import LogFormat, Reading, reading_of
from usermodel.events.rejects import Accounting, Reject
from usermodel.events.sources import LogFile, expand
from usermodel.schema import ITEM, TIME, USER, TimeKind

#: ``(bytes read, bytes in all, rows read)``.
OnProgress = Callable[[int, int, int], None]
Source = str | Path | Sequence[str | Path] | Any

_SUFFIXES: Final[Mapping[str, LogFormat]] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".arrow": "arrow",
    ".ipc": "arrow",
    ".feather": "arrow",
    ".inter": "atomic",
}
#: Formats whose rows hold no time: their order is all there is.
_ORDERED: Final = frozenset({"sequences", "pairs"})
_MOVIELENS: Final = [USER, ITEM, "rating", TIME]


def read_events(source: Source, *, on_progress: OnProgress | None = None, **options: Any) -> EventLog:
    """Read a behaviour log.

    Args:
        source: A path, a folder, a glob, a URL of an object store, a list of these, or a polars or pandas frame.
        on_progress: Called with the bytes read so far, the bytes of all files, and the rows read so far; compressed
            files count as they lie. Ends at the total. A frame is not read, and calls nothing.
        **options: The fields of `Reading`: ``user= item= time=`` name columns, ``watch_time= duration= event_type=
            rating= label= session=`` name further ones (times in milliseconds), ``categorical= numeric=`` context
            columns (``["device"]``, or ``{"device": "column"}`` to give them another name), ``format= separator=
            has_header= id_type= time_unit= tz=`` say how to read, ``bad_rows= duplicates=`` what to do with rows that
            are none or are repeated.

    Returns:
        The log; rows keep the order of the files and of the rows in them.

    Raises:
        MissingError: No such file.
        StorageError: An object store that does not answer, gives no access, or breaks off.
        DataError: A missing column, an empty log, a time that is none, an empty id, a context column named like one
            of ours.
    """
    reading = reading_of(options)
    if not isinstance(source, str | Path | list | tuple):
        frame = as_frame(source)
        columns = columns_of(reading, ordered=False)
        require_columns(columns.wanted, frame.columns, "frame")
        return _log([numbered("frame", frame.select(columns.wanted), 1)], columns, reading, ("frame",))
    files, columns = files_of(source, reading)
    pieces = (piece for file, form in files for piece in open_pieces(file, form, reading, columns))
    watched = _watched(pieces, [file for file, _ in files], on_progress)
    return _log(watched, columns, reading, tuple(file.name for file, _ in files))


def files_of(source: Any, reading: Reading) -> tuple[list[tuple[LogFile, LogFormat]], Columns]:
    """The files to read, each with its format, and the columns to read from them.

    Raises:
        MissingError: No such file.
        DataError: Files with times beside files of mere order.
    """
    files = [
        (file, _format_of(file) if reading.format == "auto" else reading.format) for file in expand(source)
    ]
    kinds = {form in _ORDERED for _, form in files}
    if len(kinds) > 1:
        found, do = "files with times and files without", "Read them apart."
        raise DataError("source", expected="files of one kind", found=found, do=do)
    return files, columns_of(reading, ordered=kinds.pop())


def _watched(
    pieces: Iterator[Piece], files: list[LogFile], on_progress: OnProgress | None
) -> Iterator[Piece]:
    total, rows = sum(file.size for file in files), 0
    for piece in pieces:
        yield piece
        rows += piece.n_rows
        if on_progress is not None:
            on_progress(min(sum(file.bytes_read for file in files), total), total, rows)
    if on_progress is not None:
        on_progress(total, total, rows)


def columns_of(reading: Reading, *, ordered: bool) -> Columns:
    """Which columns to read; files of mere order have none to choose from."""
    if ordered and reading.features:
        expected, found = "no further column in files of mere order", ", ".join(map(repr, reading.features))
        raise DataError("columns", expected=expected, found=found, do="Leave these options out.")
    if ordered:
        return Columns(USER, ITEM, None, {}, reading.id_type)
    return Columns(
        reading.user, reading.item, reading.time, reading.features, reading.id_type, reading.context
    )


def _log(
    pieces: Iterator[Piece] | list[Piece], columns: Columns, reading: Reading, sources: tuple[str, ...]
) -> EventLog:
    accounting = Accounting(reading.bad_rows)
    mapper = Mapper(columns, sources[0], accounting, reading.time_unit, reading.tz)
    for piece in pieces:
        mapper.add(piece)
    frame = drop_duplicates(mapper.finish(), reading.duplicates, accounting)
    kind: TimeKind = "order" if columns.time is None or reading.time_unit == "order" else "utc"
    return EventLog(
        frame,
        sources,
        columns.id_type,
        columns.id_type,
        kind,
        accounting=accounting.facts(),
        rejects=_in_order(accounting.rejects, sources) if reading.bad_rows == "quarantine" else (),
        by_column=True,
        context=columns.context,
    )


def _in_order(rejects: list[Reject], sources: tuple[str, ...]) -> tuple[Reject, ...]:
    place = {source: at for at, source in enumerate(sources)}
    return tuple(sorted(rejects, key=lambda one: (place[one.file], one.line)))


def open_pieces(path: LogFile, form: str, reading: Reading, columns: Columns) -> Iterator[Piece]:
    """Open one file in its format."""
    wanted = columns.wanted
    separator = reading.separator or ("\t" if ".tsv" in path.suffixes else ",")
    readers: dict[str, Callable[[], Iterator[Piece]]] = {
        "csv": lambda: Delimited(separator, quote=True, header=reading.has_header).pieces(path, wanted),
        "movielens": lambda: Delimited("::", quote=False, names=_MOVIELENS).pieces(path, wanted),
        "atomic": lambda: Delimited("\t", quote=False, typed=True).pieces(path, wanted),
        "jsonl": lambda: json_lines(path, wanted),
        "parquet": lambda: tables.parquet(path, wanted),
        "arrow": lambda: tables.arrow(path, wanted),
        "sequences": lambda: sequences(path),
        "pairs": lambda: sequences(path, pairs=True),
    }
    return readers[form]()


def _format_of(path: LogFile) -> LogFormat:
    form = _SUFFIXES.get(path.suffixes[-1]) if path.suffixes else None
    if form is None:
        found = f"the suffix {''.join(Path(path.path).suffixes) or '(none)'}"
        do = f"Name it with --format {'|'.join(get_args(LogFormat)[1:])}."
        raise DataError(str(path), expected="a file whose suffix names its format", found=found, do=do)
    return form


def as_frame(source: Any) -> pl.DataFrame:
    """A frame of polars, pandas or pyarrow as one of polars.

    Raises:
        DataError: Something else, or columns of mixed types.
    """
    if isinstance(source, pl.LazyFrame):
        return source.collect(engine="streaming")
    if isinstance(source, pl.DataFrame):
        return source
    if isinstance(source, pa.Table):
        frame = pl.from_arrow(source)
        assert isinstance(frame, pl.DataFrame)
        return frame
    found = type(source).__name__
    if any(
        f"{kind.__module__}.".startswith("pandas.") and kind.__name__ == "DataFrame"
        for kind in type(source).__mro__
    ):
        try:
            return pl.from_pandas(source)
        except (TypeError, ValueError, pa.ArrowException, pl.exceptions.PolarsError) as error:
            found = f"one of mixed types: {error!s:.80}"
            do = "Convert its columns, for example with .astype(str)."
            raise DataError("frame", expected="a frame of typed columns", found=found, do=do) from None
    raise DataError(
        "source", expected="a path, a list of paths, or a frame", found=found, do="Pass one of these."
    )
