"""Readers: files and frames of any shape -> EventLog. Columns are named by the caller, never guessed in silence."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, get_args

import polars as pl
import pyarrow as pa

from usermodel.errors import DataError, MissingError
from usermodel.events import tables
from usermodel.events.delimited import Delimited
from usermodel.events.duplicates import drop_duplicates
from usermodel.events.event_log import EventLog
from usermodel.events.lines import json_lines, sequences
from usermodel.events.mapping import Columns, Mapper
from usermodel.events.piece import Piece, numbered, require_columns
from usermodel.events.reading import LogFormat, Reading, reading_of
from usermodel.events.rejects import Accounting, Reject
from usermodel.schema import ITEM, TIME, USER, TimeKind

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
_COMPRESSED: Final = frozenset({".gz", ".zst", ".bz2"})
#: Formats whose rows hold no time: their order is all there is.
_ORDERED: Final = frozenset({"sequences", "pairs"})
_MOVIELENS: Final = [USER, ITEM, "rating", TIME]


def read_events(
    source: Source, *, on_progress: Callable[[int], None] | None = None, **options: Any
) -> EventLog:
    """Read a behaviour log.

    Args:
        source: A path, a folder, a glob, a list of these, or a polars or pandas frame.
        on_progress: Called with the rows read so far.
        **options: The fields of `Reading`: ``user= item= time=`` name columns, ``watch_time= duration= event_type=
            rating= label= session=`` name further ones (times in milliseconds), ``categorical= numeric=`` context
            columns (``["device"]``, or ``{"device": "column"}`` to give them another name), ``format= separator=
            has_header= id_type= time_unit= tz=`` say how to read, ``bad_rows= duplicates=`` what to do with rows that
            are none or are repeated.

    Returns:
        The log; rows keep the order of the files and of the rows in them.

    Raises:
        MissingError: No such file.
        DataError: A missing column, an empty log, a time that is none, an empty id, a context column named like one
            of ours.
    """
    reading = reading_of(options)
    if not isinstance(source, str | Path | list | tuple):
        frame = _as_polars(source)
        columns = columns_of(reading, ordered=False)
        require_columns(columns.wanted, frame.columns, "frame")
        return _log([numbered("frame", frame.select(columns.wanted), 1)], columns, reading, ("frame",))
    files, columns = files_of(source, reading)
    pieces = (
        piece for path, root, form in files for piece in open_pieces(path, root, form, reading, columns)
    )
    watched = _watched(pieces, on_progress)
    return _log(watched, columns, reading, tuple(str(path) for path, _, _ in files))


def files_of(source: Any, reading: Reading) -> tuple[list[tuple[Path, Path | None, LogFormat]], Columns]:
    """The files to read, each with the folder it was found in and its format, and the columns to read from them.

    Raises:
        MissingError: No such file.
        DataError: Files with times beside files of mere order.
    """
    files = [
        (path, root, _format_of(path) if reading.format == "auto" else reading.format)
        for path, root in expand(source)
    ]
    kinds = {form in _ORDERED for _, _, form in files}
    if len(kinds) > 1:
        found, do = "files with times and files without", "Read them apart."
        raise DataError("source", expected="files of one kind", found=found, do=do)
    return files, columns_of(reading, ordered=kinds.pop())


def _watched(pieces: Iterator[Piece], on_progress: Callable[[int], None] | None) -> Iterator[Piece]:
    rows = 0
    for piece in pieces:
        yield piece
        rows += piece.n_rows
        if on_progress is not None:
            on_progress(rows)


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


def open_pieces(
    path: Path, root: Path | None, form: str, reading: Reading, columns: Columns
) -> Iterator[Piece]:
    """Open one file in its format."""
    wanted = columns.wanted
    separator = reading.separator or ("\t" if ".tsv" in path.name.lower() else ",")
    readers: dict[str, Callable[[], Iterator[Piece]]] = {
        "csv": lambda: Delimited(separator, quote=True, header=reading.has_header).pieces(path, wanted),
        "movielens": lambda: Delimited("::", quote=False, names=_MOVIELENS).pieces(path, wanted),
        "atomic": lambda: Delimited("\t", quote=False, typed=True).pieces(path, wanted),
        "jsonl": lambda: json_lines(path, wanted),
        "parquet": lambda: tables.parquet(path, wanted, root),
        "arrow": lambda: tables.arrow(path, wanted),
        "sequences": lambda: sequences(path),
        "pairs": lambda: sequences(path, pairs=True),
    }
    return readers[form]()


def expand(source: str | Path | Sequence[str | Path]) -> list[tuple[Path, Path | None]]:
    """Paths, globs and folders -> existing files in sorted order, no file twice, each with the folder it was found in."""
    found: list[tuple[Path, Path | None]] = []
    for one in [source] if isinstance(source, str | Path) else source:
        if "://" in str(one):
            do = "Copy the files here first, or pass a frame: read_events(polars.scan_parquet(URL))."
            raise MissingError(str(one), expected="a path on this machine", found="a URL", do=do)
        path = Path(one)
        matches: list[tuple[Path, Path | None]] = [(path, None)]
        if path.is_dir():
            hidden = (".", "_")
            inside = sorted(
                file for file in path.rglob("*") if file.is_file() and not file.name.startswith(hidden)
            )
            matches = [(file, path) for file in inside if file.name != "manifest.json"]
        elif not path.exists() and glob.has_magic(str(one)):
            # The functions of pathlib know no absolute patterns and take in hidden files.
            matches = [(Path(name), None) for name in sorted(glob.glob(str(one))) if Path(name).is_file()]  # noqa: PTH207
        if not matches or not matches[0][0].is_file():
            what = "a folder without files" if path.is_dir() else "no such file"
            raise MissingError(
                str(one), expected="a log file", found=what, do="Check the path and the spelling."
            )
        found += matches
    twice = [path for path, count in Counter(path for path, _ in found).items() if count > 1]
    if twice:
        raise DataError(str(twice[0]), expected="each file once", found="it twice", do="Name it once.")
    if not found:
        raise MissingError(
            "source", expected="a log file", found="an empty list", do="Name at least one file."
        )
    return found


def _format_of(path: Path) -> LogFormat:
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in _COMPRESSED]
    form = _SUFFIXES.get(suffixes[-1]) if suffixes else None
    if form is None:
        found = f"the suffix {''.join(path.suffixes) or '(none)'}"
        do = f"Name it with --format {'|'.join(get_args(LogFormat)[1:])}."
        raise DataError(str(path), expected="a file whose suffix names its format", found=found, do=do)
    return form


def _as_polars(source: Any) -> pl.DataFrame:
    if isinstance(source, pl.LazyFrame):
        return source.collect(engine="streaming")
    if isinstance(source, pl.DataFrame):
        return source
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
