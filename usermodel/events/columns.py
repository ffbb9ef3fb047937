"""Columns of any source -> the types of the EVENTS schema, exactly or with the first row that does not fit."""

from __future__ import annotations

from typing import Any

import polars as pl

from usermodel.errors import DataError
from usermodel.schema import IdType

_TEXT = (pl.String, pl.Categorical, pl.Enum)


def parse_ids(values: pl.Series, where: str, kind: IdType) -> pl.Series:
    """User or item ids as text, byte by byte, or as 64-bit integers.

    Raises:
        DataError: Empty ids, or values that cannot name anybody.
    """
    if not (values.dtype.is_integer() or values.dtype in _TEXT or values.dtype == pl.Null):
        do = "Convert the column to integers or text: 7.0 and 7 would be two ids."
        raise DataError(
            where,
            expected="ids",
            found=f"{values.dtype} values such as {values.head(1).to_list()[0]!r}",
            do=do,
        )
    empty = _is_empty(values)
    if empty.any():
        row = int(empty.arg_true()[0]) + 1
        found = f"{int(empty.sum()):,} empty ones, the first in row {row:,}"
        raise DataError(where, expected="an id in every row", found=found, do="Fill or remove these rows.")
    if kind == "string":
        return values.cast(pl.String)
    return _checked(values, values.cast(pl.Int64, strict=False), empty, where)


def parse_feature(values: pl.Series, dtype: Any, where: str) -> pl.Series:
    """Values as ``dtype``; empty ones become null. An integer may be written ``12.0``, and ``12.5`` is rounded.

    Raises:
        DataError: Values of another kind.
    """
    empty = _is_empty(values)
    if dtype == pl.String:
        return values.cast(pl.String).replace("", None)
    cast = values.cast(dtype, strict=False)
    if dtype == pl.Int64 and not values.dtype.is_integer():
        # pandas writes integers as 12.0 once a single one is missing; watch times may carry parts of a millisecond.
        rounded = values.cast(pl.Float64, strict=False).round().cast(pl.Int64, strict=False)
        cast = rounded if values.dtype.is_float() else cast.fill_null(rounded)
    return _checked(values, cast, empty, where)


def _checked(values: pl.Series, cast: pl.Series, empty: pl.Series, where: str) -> pl.Series:
    """``cast``, unless something got lost on the way."""
    wrong = cast.is_null() & ~empty
    if wrong.any():
        row = int(wrong.arg_true()[0])
        found = f"{values[row]!r} in row {row + 1:,} ({int(wrong.sum()):,} such rows)"
        raise DataError(where, expected=f"{cast.dtype} values", found=found, do="Mend or remove these rows.")
    return cast


def _is_empty(values: pl.Series) -> pl.Series:
    if values.dtype in _TEXT:
        return values.is_null() | (values.cast(pl.String) == "")
    return values.is_null() | values.is_nan() if values.dtype.is_float() else values.is_null()
