"""Side tables from frames and files, in the types of `schema`, or with the first value that does not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypedDict

import numpy as np
import polars as pl
import pyarrow as pa

from usermodel.errors import DataError, MissingError, nearest
from usermodel.events.atomic_tables import SUFFIXES, read_atomic_table
from usermodel.events.times import TimeColumn
from usermodel.schema import (
    CLICKED,
    ITEM,
    PLAUSIBLE,
    PREDICTION_TIME,
    PROPENSITY,
    TIME,
    USER,
    VALUE,
    IdType,
    TimeKind,
)

USER_ROW: Final = "user_row"
ITEM_INDEX: Final = "item_index"
#: Names of the tables in a store, by the option of `build_store` that brings them.
NAMES: Final = {
    "impressions": "impressions",
    "labels": "labels",
    "items_table": "items",
    "users_table": "users",
}
#: Columns with a fixed type; a name in brackets may be left out, and may be empty.
_COLUMNS: Final[dict[str, dict[str, Any]]] = {
    "impressions": {
        USER: None,
        ITEM: None,
        TIME: pl.Int64,
        CLICKED: pl.Boolean,
        f"[{PROPENSITY}]": pl.Float64,
    },
    "labels": {USER: None, PREDICTION_TIME: pl.Int64, f"[{ITEM}]": None, VALUE: pl.Float64},
    "items": {ITEM: None},
    "users": {USER: None},
    "rows": {USER: None, ITEM: None, TIME: pl.Int64},
}
_TIMES: Final = (TIME, PREDICTION_TIME)
_EXPECTED_TIMES: Final = "microseconds since 1970 UTC, or times with a zone"
#: How text ends that holds a clock time and its offset from UTC.
_ZONED: Final = r":[0-9.,]+ ?(?:[Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)$"


class SideTables(TypedDict, total=False):
    """Frames, or paths of Parquet, CSV or atomic (``.item``, ``.user``) files.

    Attributes:
        impressions: ``user_id item_id timestamp clicked propensity?``: what was shown.
        labels: ``user_id prediction_time item_id? value``: what a task predicts.
        items_table: ``item_id`` and whatever is known about items, one row each: numbers, text, lists of categories,
            dense vectors (Parquet lists, fixed-size or not).
        users_table: ``user_id`` and whatever is known about users, one row each, likewise.
    """

    impressions: Any
    labels: Any
    items_table: Any
    users_table: Any


def read_tables(
    given: Mapping[str, Any], user_type: IdType, item_type: IdType, time_kind: TimeKind
) -> dict[str, pl.DataFrame]:
    """Side tables in the types of `schema`, by their name in the store; ``None`` is no table.

    Raises:
        MissingError: No such file.
        DataError: An unknown table, a missing column, a value of another type, an item or user with two rows.
    """
    tables = {}
    for option, source in given.items():
        if option not in NAMES:
            do = nearest(option, NAMES)
            raise DataError(option, expected="a side table", found="an unknown one", do=do)
        if source is None:
            continue
        name = NAMES[option]
        where = str(source) if isinstance(source, str | Path) else option
        frame = _typed(_frame(source, where), name, where, {USER: user_type, ITEM: item_type})
        _check_rows(frame, name, where, time_kind)
        tables[name] = frame
    return tables


def read_frame(source: Any, text: Sequence[str] = ()) -> pl.DataFrame:
    """A frame, or a Parquet, CSV or atomic file, as it is.

    Args:
        source: A frame of polars or pandas, or a path.
        text: Columns that are text in a CSV file, whatever they look like; ids always are.

    Raises:
        MissingError: No such file.
        DataError: It cannot be read.
    """
    return _frame(source, str(source) if isinstance(source, str | Path) else "rows", text)


def typed_rows(source: Any, user_type: IdType, item_type: IdType, time_kind: TimeKind) -> pl.DataFrame:
    """Rows to be scored, ``user_id item_id timestamp`` and whatever else is known of them, in their own order.

    Raises:
        MissingError: No such file.
        DataError: A missing column, or a value of another type.
    """
    where = str(source) if isinstance(source, str | Path) else "rows"
    frame = _typed(read_frame(source), "rows", where, {USER: user_type, ITEM: item_type})
    _check_rows(frame, "rows", where, time_kind)
    return frame


def _frame(source: Any, where: str, text: Sequence[str] = ()) -> pl.DataFrame:
    if isinstance(source, pl.LazyFrame):
        return _frame(source.collect(), where)
    if isinstance(source, pl.DataFrame):
        odd = next((column for column in source if column.dtype == pl.Object), None)
        if odd is not None:
            expected, do = "values that Parquet can hold", "Convert it to text, numbers or lists of these."
            raise DataError(f"{where}: column {odd.name!r}", expected=expected, found="objects", do=do)
        return source
    if any(f"{kind.__module__}.".startswith("pandas.") for kind in type(source).__mro__):
        return _from_pandas(source, where)
    if not isinstance(source, str | Path):
        do = "Pass one of these."
        raise DataError(where, expected="a path or a frame", found=type(source).__name__, do=do)
    path = Path(source)
    if not path.is_file():
        raise MissingError(
            where, expected="a Parquet, CSV or atomic file", found="no such file", do="Check the path."
        )
    if path.suffix in SUFFIXES:
        return read_atomic_table(path)
    try:
        if path.suffix in {".parquet", ".pq"}:
            return pl.read_parquet(path, glob=False)
        separator = "\t" if path.suffix == ".tsv" else ","
        # Ids stay text: 007 is no number.
        head = pl.read_csv(path, separator=separator, n_rows=0, glob=False).columns
        known = {name: pl.String for name in (USER, ITEM, *text) if name in head}
        return pl.read_csv(
            path, separator=separator, infer_schema_length=None, schema_overrides=known, glob=False
        )
    except (pl.exceptions.PolarsError, OSError) as error:
        found = next(iter(str(error).strip().splitlines()), type(error).__name__)[:120]
        do = "Check the format; .parquet, .csv and .tsv go by the suffix."
        raise DataError(where, expected="a readable Parquet or CSV file", found=found, do=do) from None


def _from_pandas(source: Any, where: str) -> pl.DataFrame:
    try:
        return pl.from_pandas(source)
    except (TypeError, ValueError, pa.ArrowException, pl.exceptions.PolarsError) as error:
        do = "Convert its columns, for example with .astype(str)."
        found = f"one of mixed types: {error!s:.80}"
        raise DataError(where, expected="a frame of typed columns", found=found, do=do) from None


def _typed(frame: pl.DataFrame, name: str, where: str, id_types: Mapping[str, IdType]) -> pl.DataFrame:
    columns = []
    reserved = {USER_ROW, ITEM_INDEX} & set(frame.columns)
    for bracketed, dtype in _COLUMNS[name].items():
        column = bracketed.strip("[]")
        optional = bracketed != column
        if column not in frame.columns:
            if optional:
                continue
            found = f"the columns {', '.join(map(repr, frame.columns))}"
            raise DataError(
                where, expected=f"a column {column!r}", found=found, do=nearest(column, frame.columns)
            )
        want = dtype or {"string": pl.String, "int": pl.Int64}[id_types[column]]
        columns.append(_cast(frame[column], want, f"{where}: column {column!r}", optional=optional))
    return frame.drop(reserved).with_columns(columns)


def _cast(values: pl.Series, want: Any, where: str, *, optional: bool) -> pl.Series:
    zoned = isinstance(values.dtype, pl.Datetime) and values.dtype.time_zone is not None
    source = values.dt.epoch("us") if zoned else values
    if want == pl.Boolean and source.dtype == pl.String:
        source = source.str.to_lowercase().replace_strict(
            {"true": 1, "1": 1, "false": 0, "0": 0}, default=None
        )
    if values.name in _TIMES and source.dtype == pl.String:
        source = _microseconds(source)
    fits = {pl.Int64: source.dtype.is_integer() or source.dtype == pl.String}.get(want, True)
    cast = (
        source.cast(want, strict=False) if fits else pl.Series(values.name, [None] * len(values), dtype=want)
    )
    bad = cast.is_null() & ~(
        values.is_null() if optional else pl.Series([False] * len(values), dtype=pl.Boolean)
    )
    if want == pl.Boolean and source.dtype.is_numeric():
        bad = bad | ~source.is_in([0, 1]).fill_null(value=False)
    if want == pl.String:
        bad = bad | (cast == "").fill_null(value=False)
    if bad.any():
        row = int(bad.arg_true()[0])
        found = f"{values[row]!r} in row {row + 1:,} ({int(bad.sum()):,} such rows)"
        expected = _EXPECTED_TIMES if values.name in _TIMES else f"{want} values"
        raise DataError(where, expected=expected, found=found, do="Mend or remove these rows.")
    return cast.alias(values.name)


def _microseconds(values: pl.Series) -> pl.Series:
    """Text of integers, or of times with a zone, as integers; null where it is neither."""
    numbers = values.str.strip_chars().cast(pl.Int64, strict=False)
    zoned = values.str.contains(_ZONED).fill_null(value=False)
    if not zoned.any():
        return numbers
    times, _ = TimeColumn("").block(values.set(~zoned, None), "", np.arange(1, len(values) + 1))
    return numbers.fill_null(times)


def _check_rows(frame: pl.DataFrame, name: str, where: str, time_kind: TimeKind) -> None:
    """One row per item or user in their tables, and times in microseconds."""
    column = {"items": ITEM, "users": USER}.get(name)
    if column and frame[column].n_unique() < frame.height:
        twice = frame[column].filter(frame[column].is_duplicated())[0]
        do = "Keep one row for each."
        raise DataError(where, expected=f"one row for each {column}", found=f"several for {twice!r}", do=do)
    for time in _TIMES:
        if time_kind == "utc" and time in frame.columns and not frame[time].is_between(*PLAUSIBLE).all():
            value = frame[time].filter(~frame[time].is_between(*PLAUSIBLE))[0]
            raise DataError(
                f"{where}: column {time!r}", expected=_EXPECTED_TIMES, found=str(value), do="Convert them."
            )
