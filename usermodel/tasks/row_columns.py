"""What is known of rows before their outcome, read as categories or numbers.

Names: ``user_id``, ``item_id``; ``hour`` (of the day, UTC) and ``weekday``; a column that came with the rows by its name: a declared context
column of events, or any further column of impressions or labels; a column of a side table as ``items.NAME`` or ``users.NAME``; and the number
``duration``, as its logarithm. ``bucket(NAME)`` makes categories of a number that counts something. Outcomes, such as the rating or the
type of the event itself, are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from jaxtyping import Float64, Int64
from numpy import ndarray

from usermodel.errors import DataError, nearest
from usermodel.events.codes import factorize
from usermodel.schema import (
    CLICKED,
    DURATION,
    EVENT_TYPE,
    LABEL,
    PREDICTION_TIME,
    PROPENSITY,
    RATING,
    SESSION,
    TIME,
    VALUE,
    WATCH_TIME,
)
from usermodel.store.sequence_store import SequenceStore
from usermodel.store.table_input import ITEM_INDEX, USER_ROW
from usermodel.store.tables import beside_ids, side_columns
from usermodel.tasks.rows import Rows

#: What happened, and is not known before.
OUTCOMES: Final = (EVENT_TYPE, WATCH_TIME, RATING, LABEL, CLICKED, VALUE)
_HOUR: Final = 3_600_000_000
_DAYS: Final = 7
_MS: Final = 1000.0
#: 1970-01-01 was a Thursday, weekday 3 counted from Monday.
_FIRST_WEEKDAY: Final = 3
_TABLES: Final = {"items": ITEM_INDEX, "users": USER_ROW}
_BUCKET: Final = re.compile(r"bucket\((.+)\)")
#: Below minus this, float64 has no whole numbers of its own.
_LARGE: Final = float(1 << 53)
#: Numbers up to here are buckets of their own.
_SMALL: Final = 2


@dataclass(frozen=True)
class Categories:
    """A column of categories.

    Attributes:
        codes: 1 to n for each row, 0 for an unknown one.
        names: What the codes 1 to n stand for.
    """

    codes: Int64[ndarray, " rows"]
    names: pl.Series


#: Numbers may be unknown: NaN.
Column = Categories | Float64[ndarray, " rows"]


def read_column(store: SequenceStore, rows: Rows, name: str) -> Column:
    """A column of rows.

    Raises:
        DataError: No such column, one that is an outcome, or one of lists.
    """
    own = own_name(name)
    if own != name:
        return _bucket(read_column(store, rows, own), name)
    if name in OUTCOMES:
        do = "Leave it out: what is known only after the event would be read from the answer."
        raise DataError(f"feature {name!r}", expected="what is known before", found="an outcome", do=do)
    if name == "user_id":
        return Categories(rows.user + 1, store.users.ids)
    if name == "item_id":
        return Categories(rows.item, store.vocabulary.ids)
    if name in {"hour", "weekday"}:
        return _clock(store, rows, name)
    if name == "duration":
        return _duration(store, rows)
    table, dot, column = name.partition(".")
    if dot and table in _TABLES:
        return _side(store, rows, table, column)
    known = known_before(store, rows)
    if name in known:
        return _own(store, rows, name)
    choices = ["user_id", "item_id", "hour", "weekday", "duration", *known]
    choices += [f"{table}.{one}" for table in _TABLES for one in side_columns(store, table)]
    raise DataError(
        f"feature {name!r}", expected=", ".join(choices), found="no such column", do=nearest(name, choices)
    )


def own_name(name: str) -> str:
    """The column that ``bucket(NAME)`` is made of; any other name is itself."""
    found = _BUCKET.fullmatch(name)
    return name if found is None else found[1]


def known_before(store: SequenceStore, rows: Rows) -> list[str]:
    """Columns that came with the rows themselves and are no outcome, and not how the rows were chosen."""
    if rows.table is None:
        return [*store.context, *([SESSION] if SESSION in store.features else [])]
    apart = {*OUTCOMES, PROPENSITY, TIME, PREDICTION_TIME}
    return [name for name in beside_ids(rows.table) if name not in apart and name != rows.parts]


def _bucket(column: Column, name: str) -> Categories:
    """``floor(log(x)^2)`` above 2, and below the number without its fraction; the two kinds stay apart.

    The formula is FuxiCTR's for Criteo's log, where 1 and 3 share a bucket.
    """
    if isinstance(column, Categories):
        do = "Name it without bucket(): it has categories already."
        raise DataError(f"feature {name!r}", expected="a column of numbers", found="categories", do=do)
    known = np.isfinite(column)
    with np.errstate(invalid="ignore", divide="ignore"):
        squares = np.floor(np.log(np.where(column > _SMALL, column, 1)) ** 2)
    # The smallest square is 1: behind the numbers that are buckets of their own.
    small = np.maximum(np.trunc(column), -_LARGE)
    values = np.where(column > _SMALL, squares + _SMALL, small)[known].astype(np.int64)
    return _coded(pl.Series(name, values), known)


def _coded(values: pl.Series, known: ndarray) -> Categories:
    """Categories of the rows where something is known; ``values`` holds these alone."""
    names, places = factorize(values)
    codes = np.zeros(len(known), dtype=np.int64)
    codes[known] = places.astype(np.int64) + 1
    return Categories(codes, names)


def _duration(store: SequenceStore, rows: Rows) -> Float64[ndarray, " rows"]:
    """The logarithm of each row's duration in milliseconds; unknown where `durations` is 0."""
    if rows.table is None or DURATION not in rows.table.columns:
        # Says that the store has none, where it has none.
        store.feature(DURATION)
    known = durations(store, rows)
    found: ndarray = np.log(np.where(known > 0, known * _MS, np.nan))
    return found


def durations(store: SequenceStore, rows: Rows) -> Float64[ndarray, " rows"]:
    """Seconds: each row's own, or where a row that is no event has none that of the item's last event before; 0 where unknown."""
    known: ndarray = np.zeros(len(rows))
    if DURATION in store.features:
        of_events = np.asarray(store.feature(DURATION)).astype(np.float64)
        known = of_events[rows.place] if rows.table is None else _last_before(store, rows, of_events)
    if rows.table is not None and DURATION in rows.table.columns:
        own = rows.table[DURATION].cast(pl.Float64, strict=False).fill_null(0.0).to_numpy()[rows.place]
        known = np.where(np.nan_to_num(own) > 0, own, known)
    found: ndarray = np.maximum(known, 0.0) / _MS
    return found


def _last_before(
    store: SequenceStore, rows: Rows, values: Float64[ndarray, " events"]
) -> Float64[ndarray, " rows"]:
    """The value above 0 of the last event with each row's item that is strictly earlier; 0 where there is none."""
    some = np.flatnonzero(values > 0)
    items, times = np.asarray(store.items)[some].astype(np.int64), np.asarray(store.times)[some]
    moments = np.unique(times)
    # One number for item and time, so that one search answers both.
    width = len(moments) + 1
    key = items * width + np.searchsorted(moments, times)
    order = np.argsort(key, kind="stable")
    asked = rows.item * width + np.searchsorted(moments, rows.time)
    at = np.searchsorted(key[order], asked) - 1
    found: ndarray = np.zeros(len(rows))
    there = at >= 0
    there[there] = items[order[at[there]]] == rows.item[there]
    found[there] = values[some[order[at[there]]]]
    return found


def _own(store: SequenceStore, rows: Rows, name: str) -> Column:
    if rows.table is not None:
        return _values(rows.table[name], rows.place)
    values = store.feature(name)[rows.place]
    if values.dtype.kind == "f":
        numbers: ndarray = values.astype(np.float64)
        return numbers
    return Categories(values.astype(np.int64), store.categories(name).ids)


def _clock(store: SequenceStore, rows: Rows, name: str) -> Categories:
    if store.time_kind == "order":
        do = "Leave it out, or ingest a log with times."
        raise DataError(
            f"feature {name!r}", expected="a store with times", found="an order-only store", do=do
        )
    hours: ndarray = rows.time // _HOUR
    if name == "hour":
        return Categories(hours % 24 + 1, pl.Series(range(24)))
    return Categories((hours // 24 + _FIRST_WEEKDAY) % _DAYS + 1, pl.Series(range(_DAYS)))


def _side(store: SequenceStore, rows: Rows, table: str, column: str) -> Column:
    """A column of what is known of items or users, for each row; lists are refused."""
    frame = store.table(table)
    choices = beside_ids(frame)
    if column not in choices:
        do = nearest(column, choices)
        raise DataError(
            f"feature '{table}.{column}'", expected=", ".join(choices) or "columns", found="none such", do=do
        )
    of_rows = rows.item if table == "items" else rows.user
    key = frame[_TABLES[table]].to_numpy()
    of_key = _values(frame[column], np.arange(frame.height))
    size = int(max(key.max(initial=0), of_rows.max(initial=0))) + 1
    if isinstance(of_key, Categories):
        codes = np.zeros(size, dtype=np.int64)
        codes[key] = of_key.codes
        return Categories(codes[of_rows], of_key.names)
    numbers = np.full(size, np.nan)
    numbers[key] = of_key
    found: ndarray = numbers[of_rows]
    return found


def _values(column: pl.Series, rows: Int64[ndarray, " n"]) -> Column:
    """Numbers as float64, anything else as categories in sorted order; lists are refused."""
    if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Duration):
        do = "Convert it to one category or number for each."
        raise DataError(f"feature {column.name!r}", expected="one value each", found=str(column.dtype), do=do)
    if column.dtype.is_numeric():
        numbers: ndarray = column.cast(pl.Float64).fill_null(float("nan")).to_numpy()[rows]
        return numbers
    text = column if column.dtype == pl.String else column.cast(pl.String)
    all_rows = _coded(text.drop_nulls(), text.is_not_null().to_numpy())
    return Categories(all_rows.codes[rows], all_rows.names)
