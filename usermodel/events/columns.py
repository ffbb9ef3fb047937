"""Columns of any source -> the types of the EVENTS schema, with a mask of the rows that do not fit."""

from __future__ import annotations

from typing import Any, Final

import polars as pl

from usermodel.errors import DataError
from usermodel.events.times import Bad
from usermodel.schema import DURATION, EVENT_TYPE, RATING, WATCH_TIME, IdType

_TEXT: Final = (pl.String, pl.Categorical, pl.Enum)
FEATURE_TYPES: Final[dict[str, Any]] = {
    EVENT_TYPE: pl.String,
    WATCH_TIME: pl.Int64,
    DURATION: pl.Int64,
    RATING: pl.Float32,
}


def read_ids(values: pl.Series, where: str, kind: IdType) -> tuple[pl.Series, list[Bad]]:
    """User or item ids as text, byte by byte, or as 64-bit integers.

    Raises:
        DataError: A column whose values cannot name anybody.
    """
    if not (values.dtype.is_integer() or values.dtype in _TEXT or values.dtype == pl.Null):
        do = "Convert the column to integers or text: 7.0 and 7 would be two ids."
        found = f"{values.dtype} values such as {values.head(1).to_list()[0]!r}"
        raise DataError(where, expected="ids", found=found, do=do)
    empty = _is_empty(values)
    bad = [Bad(empty, "D010")]
    if kind == "string":
        return values.cast(pl.String), bad
    ids = values.cast(pl.Int64, strict=False)
    return ids, [*bad, Bad(ids.is_null() & ~empty, "D011")]


def read_feature(values: pl.Series, name: str) -> tuple[pl.Series, list[Bad]]:
    """A further column; empty values become null. An integer may be written ``12.0``, and ``12.5`` is rounded."""
    dtype = FEATURE_TYPES[name]
    if (
        values.dtype not in _TEXT
        and not values.dtype.is_numeric()
        and values.dtype not in (pl.Boolean, pl.Null)
    ):
        found = f"{values.dtype} values such as {values.head(1).to_list()[0]!r:.80}"
        do, expected = "Convert the column, or leave it out.", "text" if dtype == pl.String else "numbers"
        raise DataError(f"D020 column {values.name!r}", expected=expected, found=found, do=do)
    empty = _is_empty(values)
    if dtype == pl.String:
        return values.cast(pl.String).replace("", None), []
    cast = values.cast(dtype, strict=False)
    if dtype == pl.Int64 and not values.dtype.is_integer():
        # pandas writes integers as 12.0 once a single one is missing; watch times may carry parts of a millisecond.
        rounded = values.cast(pl.Float64, strict=False).round().cast(pl.Int64, strict=False)
        cast = rounded if values.dtype.is_float() else cast.fill_null(rounded)
    return cast, [Bad(cast.is_null() & ~empty, "D020")]


def _is_empty(values: pl.Series) -> pl.Series:
    if values.dtype in _TEXT:
        return values.is_null() | (values.cast(pl.String) == "")
    return values.is_null() | values.is_nan() if values.dtype.is_float() else values.is_null()
