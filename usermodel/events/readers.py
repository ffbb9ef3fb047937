"""Readers: files and frames of any shape -> EventLog. Columns are named by the caller, never guessed in silence."""

from __future__ import annotations

import glob
import gzip
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, get_args

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from usermodel.errors import DataError, MissingError, nearest, shorten
from usermodel.events.columns import parse_feature, parse_ids
from usermodel.events.event_log import EventLog
from usermodel.events.times import TimeUnit, parse_times
from usermodel.schema import EVENT_FEATURES, ITEM, TIME, USER, IdType, TimeKind

LogFormat = Literal["auto", "csv", "parquet", "sequences"]
Source = str | Path | Sequence[str | Path] | Any

_SUFFIXES: Final[Mapping[str, LogFormat]] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_FEATURE_TYPES: Final[Mapping[str, Any]] = {
    "event_type": pl.String,
    "watch_time_ms": pl.Int64,
    "duration_ms": pl.Int64,
    "rating": pl.Float32,
}
#: Options of `read_events` that name a further column.
_SHORT: Final = {name.removesuffix("_ms"): name for name in EVENT_FEATURES}
_CHOICES: Final[Mapping[str, Any]] = {"format": LogFormat, "id_type": IdType, "time_unit": TimeUnit}
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")


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
    files = [
        (path, _format_of(path) if reading.format == "auto" else reading.format) for path in expand(source)
    ]
    logs = [_log(path, form, reading) for path, form in files]
    return _concat(logs, order=files[0][1] == "sequences")


def reading_of(options: Mapping[str, Any]) -> Reading:
    """Keyword arguments -> `Reading`; a misspelt one is refused with its nearest neighbour."""
    known = set(Reading.__dataclass_fields__) - {"features"}
    for key in sorted(options.keys() - _SHORT.keys() - known):
        do = nearest(key, known | _SHORT.keys())
        raise DataError(key, expected="an option of read_events", found="an unknown one", do=do)
    fields = {key: value for key, value in options.items() if key in known}
    for key in fields.keys() & _CHOICES.keys():
        words = get_args(_CHOICES[key])
        if fields[key] not in words:
            do = nearest(str(fields[key]), words)
            raise DataError(key, expected=f"one of {', '.join(words)}", found=repr(fields[key]), do=do)
    # Columns without a header have numbers for names.
    fields |= {key: str(fields[key]) for key in ("user", "item", "time") if key in fields}
    features = {
        _SHORT[key]: str(value) for key, value in options.items() if key in _SHORT and value is not None
    }
    return Reading(features=features, **fields)


def expand(source: str | Path | Sequence[str | Path]) -> list[Path]:
    """Paths and globs -> existing files, globs in sorted order, no file twice."""
    found: list[Path] = []
    for one in [source] if isinstance(source, str | Path) else source:
        path = Path(one)
        matches = [path]
        if not path.exists() and glob.has_magic(str(one)):
            # The functions of pathlib know no absolute patterns and take in hidden files.
            matches = [Path(name) for name in sorted(glob.glob(str(one))) if Path(name).is_file()]  # noqa: PTH207
        if not matches or not matches[0].is_file():
            what = (
                f"a folder; name its files, for example '{one}/*.parquet'"
                if path.is_dir()
                else "no such file"
            )
            do = "Check the path and the spelling."
            raise MissingError(str(one), expected="a log file", found=what, do=do)
        found += matches
    twice = [path for path, count in Counter(found).items() if count > 1]
    if twice:
        raise DataError(str(twice[0]), expected="each file once", found="it twice", do="Name it once.")
    if not found:
        raise MissingError(
            "source", expected="a log file", found="an empty list", do="Name at least one file."
        )
    return found


def _format_of(path: Path) -> LogFormat:
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in {".gz", ".zst"}]
    form = _SUFFIXES.get(suffixes[-1]) if suffixes else None
    if form is None:
        found = f"the suffix {''.join(path.suffixes) or '(none)'}"
        do = "Name it with --format csv|parquet|sequences."
        raise DataError(str(path), expected="a .csv, .tsv or .parquet file", found=found, do=do)
    return form


def _log(path: Path, form: LogFormat, reading: Reading) -> EventLog:
    if form == "sequences":
        return _sequences(path, reading)
    return _map(_table(path, form, reading), str(path), reading)


def _table(path: Path, form: LogFormat, reading: Reading) -> pl.DataFrame:
    """All columns of text files stay text: types are ours to decide, not a sniffer's."""
    columns = list(dict.fromkeys([reading.user, reading.item, reading.time, *reading.features.values()]))
    try:
        if form == "parquet":
            _require(columns, pq.read_schema(path).names, path)
            # Where a file has page checksums, a flipped bit is an error and not another number.
            table = pq.read_table(path, columns=columns, page_checksum_verification=True)
            return pl.DataFrame(pl.from_arrow(table))
        _require_utf8(path)
        separator = reading.separator or ("\t" if ".tsv" in path.name.lower() else ",")
        frame = pl.read_csv(
            path, separator=separator, has_header=reading.has_header, infer_schema=False, glob=False
        )
    except pl.exceptions.NoDataError:
        do = "Check the export."
        raise DataError(str(path), expected="at least one event", found="an empty file", do=do) from None
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, pa.ArrowException, OSError) as error:
        found = next(iter(str(error).strip().splitlines()), type(error).__name__)
        found = found.removeprefix("found ")[:120]
        do = "Copy it again." if form == "parquet" else "Check format, separator and quotes."
        raise DataError(str(path), expected=f"a readable {form} file", found=found, do=do) from None
    while frame.height and all(value is None for value in frame.row(-1)):
        frame = frame.head(-1)  # an empty line at the end
    if not reading.has_header:
        return frame.rename({name: str(number) for number, name in enumerate(frame.columns)})
    twice = [name for name in columns if f"{name}_duplicated_0" in frame.columns]
    if twice:
        expected, do = f"one column {twice[0]!r}", "Rename the columns."
        raise DataError(str(path), expected=expected, found="several", do=do)
    return frame


def _require_utf8(path: Path) -> None:
    with path.open("rb") as file:
        if file.read(2) in _UTF16:
            do = "Re-encode it, for example with: iconv -f utf-16 -t utf-8."
            raise DataError(str(path), expected="text in UTF-8", found="UTF-16", do=do)


def _require(wanted: Sequence[str], names: Sequence[str], where: Any) -> None:
    for name in wanted:
        if name not in names:
            found = f"the columns {shorten([repr(one) for one in names])}"
            do = nearest(name, names) + " Name it with --user, --item, --time."
            raise DataError(str(where), expected=f"a column {name!r}", found=found, do=do)


def _map(frame: pl.DataFrame, where: str, reading: Reading) -> EventLog:
    """Pick and convert the named columns."""
    roles = [reading.user, reading.item, reading.time]
    _require([*roles, *reading.features.values()], frame.columns, where)
    if len(set(roles)) < len(roles):
        found = ", ".join(map(repr, roles))
        do = "Name three columns."
        raise DataError(where, expected="different columns for user, item and time", found=found, do=do)
    if frame.is_empty():
        raise DataError(
            where, expected="at least one event", found="a header and no rows", do="Check the export."
        )
    at = {name: f"{where}: column {name!r}" for name in frame.columns}
    columns = [
        parse_ids(frame[reading.user], at[reading.user], reading.id_type).alias(USER),
        parse_ids(frame[reading.item], at[reading.item], reading.id_type).alias(ITEM),
    ]
    times = parse_times(frame[reading.time], where=at[reading.time], unit=reading.time_unit, tz=reading.tz)
    columns.append(times.alias(TIME))
    for ours in EVENT_FEATURES:
        if ours in reading.features:
            theirs = reading.features[ours]
            columns.append(parse_feature(frame[theirs], _FEATURE_TYPES[ours], at[theirs]).alias(ours))
    kind: TimeKind = "order" if reading.time_unit == "order" else "utc"
    return EventLog(pl.DataFrame(columns).lazy(), (where,), reading.id_type, reading.id_type, kind)


def _sequences(path: Path, reading: Reading) -> EventLog:
    """``user item item ...`` per line, oldest first; the order becomes the time."""
    _require_utf8(path)
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        # Not splitlines: to it a line also ends at characters that ids may hold.
        lines = raw.decode("utf-8-sig").split("\n")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        do = "Copy or re-encode it as UTF-8."
        raise DataError(str(path), expected="a text file", found=f"{error!s:.80}", do=do) from None
    words = pl.Series("words", lines).str.strip_chars(" \t\r").str.replace_all(r"[ \t]+", " ").str.split(" ")
    frame = pl.DataFrame({USER: words.list.first(), ITEM: words.list.slice(1)}).explode(ITEM).drop_nulls()
    if frame.is_empty():
        expected, do = "lines of 'user item item ...'", "Check the file."
        raise DataError(str(path), expected=expected, found="no event", do=do)
    ids = [parse_ids(frame[name], f"{path}: {name}", reading.id_type).alias(name) for name in (USER, ITEM)]
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
