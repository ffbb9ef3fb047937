"""Readers: files and frames of any shape -> EventLog. Columns are named by the caller, never guessed in silence."""

from __future__ import annotations

import glob
import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import polars as pl

from usermodel.errors import DataError, MissingError, nearest
from usermodel.events.event_log import EventLog
from usermodel.events.times import TimeUnit, parse_times
from usermodel.schema import EVENT_FEATURES, ITEM, TIME, USER, IdType

LogFormat = Literal["auto", "csv", "parquet", "sequences"]
Source = str | Path | Sequence[str | Path] | Any

_SUFFIXES: Final[Mapping[str, LogFormat]] = {".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".pq": "parquet"}
_FEATURE_TYPES: Final[Mapping[str, Any]] = {"event_type": pl.String, "watch_time_ms": pl.Int64, "duration_ms": pl.Int64, "rating": pl.Float32}


@dataclass(frozen=True)
class Reading:
    """How to read a log.

    Attributes:
        user: Column of the user ids.
        item: Column of the item ids.
        time: Column of the times.
        features: Further columns: our name (`schema.EVENT_FEATURES`) -> theirs.
        format: File format; ``auto`` goes by the suffix.
        separator: Field separator of text files; ``None`` means tab for ``.tsv`` and comma otherwise.
        has_header: Whether text files begin with column names; without, columns are named ``0``, ``1``, ...
        id_type: ``string`` keeps every id as it is written; ``int`` declares 64-bit integers.
        time_unit: Unit of integer times, see `times.parse_times`.
        tz: Time zone of times that name none.
    """

    user: str = USER
    item: str = ITEM
    time: str = TIME
    features: Mapping[str, str] = field(default_factory=dict)
    format: LogFormat = "auto"
    separator: str | None = None
    has_header: bool = True
    id_type: IdType = "string"
    time_unit: TimeUnit = "auto"
    tz: str | None = None


def read_events(source: Source, **options: Any) -> EventLog:
    """Read a behaviour log.

    Args:
        source: A path, a glob, a list of either, or a polars or pandas frame.
        **options: The fields of `Reading`: ``user= item= time=`` name columns, ``watch_time= duration= event_type=
            rating=`` name further ones (times in milliseconds), ``format= separator= has_header= id_type= time_unit=
            tz=`` say how to read.

    Returns:
        The log; rows keep the order of the files and of the rows in them.

    Raises:
        MissingError: No such file.
        DataError: A missing column, an empty log, a time that is none, an empty id.
    """
    reading = reading_of(options)
    if not isinstance(source, str | Path | list | tuple):
        return _map(_as_polars(source), "frame", reading)
    paths = expand(source)
    form = reading.format if reading.format != "auto" else _format_of(paths[0])
    if form == "sequences":
        return _concat([_sequences(path, reading) for path in paths], order=True)
    return _concat([_map(_table(path, form, reading), str(path), reading) for path in paths])


def reading_of(options: Mapping[str, Any]) -> Reading:
    """Keyword arguments -> `Reading`; a misspelt one is refused with its nearest neighbour."""
    short = {"watch_time": "watch_time_ms", "duration": "duration_ms", "event_type": "event_type", "rating": "rating"}
    features = {short[key]: str(value) for key, value in options.items() if key in short and value is not None}
    known = set(Reading.__dataclass_fields__) - {"features"}
    for key in options.keys() - short.keys() - known:
        raise DataError(key, expected="an option of read_events", found="an unknown one", do=nearest(key, known | set(short)))
    return Reading(features=features, **{key: value for key, value in options.items() if key in known})


def expand(source: str | Path | Sequence[str | Path]) -> list[Path]:
    """Paths and globs -> existing files, globs in sorted order."""
    found: list[Path] = []
    for one in [source] if isinstance(source, str | Path) else source:
        matches = [Path(name) for name in sorted(glob.glob(str(one)))] if glob.has_magic(str(one)) else [Path(one)]
        missing = [path for path in matches if not path.is_file()]
        if missing or not matches:
            raise MissingError(str(one), expected="a log file", found="no such file", do="Check the path and the spelling.")
        found += matches
    return found


def _format_of(path: Path) -> LogFormat:
    suffixes = [suffix for suffix in path.suffixes if suffix not in {".gz", ".zst"}]
    form = _SUFFIXES.get(suffixes[-1].lower()) if suffixes else None
    if form is None:
        found = f"the suffix {''.join(path.suffixes) or '(none)'}"
        raise DataError(str(path), expected="a .csv, .tsv or .parquet file", found=found, do="Name it with --format csv|parquet|sequences.")
    return form


def _table(path: Path, form: LogFormat, reading: Reading) -> pl.DataFrame:
    """All columns of text files stay text: types are ours to decide, not a sniffer's."""
    columns = [reading.user, reading.item, reading.time, *reading.features.values()]
    try:
        if form == "parquet":
            names = pl.read_parquet_schema(path).keys()
            _require(columns, list(names), path)
            return pl.read_parquet(path, columns=list(dict.fromkeys(columns)))
        separator = reading.separator or ("\t" if ".tsv" in path.suffixes else ",")
        frame = pl.read_csv(path, separator=separator, has_header=reading.has_header, infer_schema=False, missing_utf8_is_empty_string=True)
    except pl.exceptions.NoDataError:
        raise DataError(str(path), expected="at least one event", found="an empty file", do="Check the export.") from None
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        first = str(error).strip().splitlines()[0][:120]
        raise DataError(str(path), expected=f"a readable {form} file", found=first, do="Check format, separator and quotes.") from None
    return frame if reading.has_header else frame.rename({name: str(k) for k, name in enumerate(frame.columns)})


def _require(wanted: Sequence[str], names: Sequence[str], where: Any) -> None:
    for name in wanted:
        if name not in names:
            found = f"the columns {', '.join(map(repr, names))}"
            raise DataError(str(where), expected=f"a column {name!r}", found=found, do=nearest(name, names) + " Name it with --user, --item, --time.")


def _map(frame: pl.DataFrame, where: str, reading: Reading) -> EventLog:
    """Pick and convert the named columns."""
    _require([reading.user, reading.item, reading.time, *reading.features.values()], frame.columns, where)
    if frame.is_empty():
        raise DataError(where, expected="at least one event", found="a header and no rows", do="Check the export.")
    columns = [
        _ids(frame[reading.user], f"{where}: column {reading.user!r}", reading.id_type).alias(USER),
        _ids(frame[reading.item], f"{where}: column {reading.item!r}", reading.id_type).alias(ITEM),
        parse_times(frame[reading.time], where=f"{where}: column {reading.time!r}", unit=reading.time_unit, tz=reading.tz).alias(TIME),
    ]
    for ours in EVENT_FEATURES:
        if ours in reading.features:
            theirs = reading.features[ours]
            columns.append(_cast(frame[theirs], _FEATURE_TYPES[ours], f"{where}: column {theirs!r}").alias(ours))
    kind = "order" if reading.time_unit == "order" else "utc"
    return EventLog(pl.DataFrame(columns).lazy(), (where,), reading.id_type, reading.id_type, kind)


def _ids(values: pl.Series, where: str, kind: IdType) -> pl.Series:
    empty = values.is_null() if values.dtype != pl.String else values.is_null() | (values == "")
    if empty.any():
        row = int(empty.arg_true()[0]) + 1
        found = f"{int(empty.sum()):,} empty ones, the first in row {row:,}"
        raise DataError(where, expected="an id in every row", found=found, do="Fill or remove these rows.")
    if kind == "int":
        return _cast(values, pl.Int64, where)
    if values.dtype.is_float():
        do = "Convert the column to integers or text: 7.0 and 7 would be two ids."
        raise DataError(where, expected="ids", found=f"floats such as {values[0]!r}", do=do)
    return values.cast(pl.String)


def _cast(values: pl.Series, dtype: Any, where: str) -> pl.Series:
    blank = values.is_null() if values.dtype != pl.String else values.is_null() | (values == "")
    cast = values.cast(dtype, strict=False)
    wrong = (cast.is_null() & ~blank).arg_true()
    if len(wrong):
        row = int(wrong[0])
        found = f"{values[row]!r} in row {row + 1:,} ({len(wrong):,} such rows)"
        raise DataError(where, expected=f"{dtype} values", found=found, do="Mend or remove these rows.")
    return cast


def _sequences(path: Path, reading: Reading) -> EventLog:
    """``user item item ...`` per line, oldest first; the order becomes the time."""
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        lines = raw.decode("utf-8").splitlines()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(str(path), expected="a text file", found=f"{error!s:.80}", do="Copy or re-encode it as UTF-8.") from None
    words = pl.Series("words", lines).str.strip_chars().str.replace_all(r"[ \t]+", " ").str.split(" ")
    frame = pl.DataFrame({USER: words.list.first(), ITEM: words.list.slice(1)}).explode(ITEM).drop_nulls()
    if frame.is_empty():
        raise DataError(str(path), expected="lines of 'user item item ...'", found="no event", do="Check the file.")
    ids = [_ids(frame[name], f"{path}: {name}", reading.id_type).alias(name) for name in (USER, ITEM)]
    return EventLog(pl.DataFrame(ids).lazy(), (str(path),), reading.id_type, reading.id_type, "order")


def _concat(logs: list[EventLog], *, order: bool = False) -> EventLog:
    frame = pl.concat([log.frame for log in logs])
    if order:
        frame = frame.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).over(USER).alias(TIME))
    first = logs[0]
    sources = tuple(source for log in logs for source in log.sources)
    return EventLog(frame, sources, first.user_type, first.item_type, first.time_kind)


def _as_polars(source: Any) -> pl.DataFrame:
    if isinstance(source, pl.LazyFrame):
        return source.collect(engine="streaming")
    if isinstance(source, pl.DataFrame):
        return source
    if type(source).__module__.partition(".")[0] == "pandas":
        return pl.from_pandas(source)
    found = type(source).__name__
    raise DataError("source", expected="a path, a list of paths, or a frame", found=found, do="Pass one of these.")
