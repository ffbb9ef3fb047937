"""Columns of any source -> the types of the EVENTS schema, with a mask of the rows that do not fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import polars as pl
import pyarrow as pa

from usermodel.errors import DataError
from usermodel.events.times import Bad
from usermodel.schema import ContextKind, IdType, feature_type, is_coded

_TEXT: Final = (pl.String, pl.Categorical, pl.Enum)
_POLARS: Final[dict[pa.DataType, Any]] = {
    pa.string(): pl.String,
    pa.large_string(): pl.String,
    pa.int64(): pl.Int64,
    pa.float32(): pl.Float32,
}


def read_ids(values: pl.Series, where: str, kind: IdType) -> tuple[pl.Series, list[Bad]]:
    """User or item ids as text, byte by byte, or as 64-bit integers.

    Raises:
        DataError: A column whose values cannot name anybody.
    """
    if not (values.dtype.is_integer() or values.dtype in _TEXT or values.dtype == pl.Null):
        do = "Convert the column to integers or text: 7.0 and 7 would be two ids."
        found = _found(values)
        raise DataError(where, expected="ids", found=found, do=do)
    empty = _is_empty(values)
    bad = [Bad(empty, "D010")]
    if kind == "string":
        return values.cast(pl.String), bad
    ids = values.cast(pl.Int64, strict=False)
    return ids, [*bad, Bad(ids.is_null() & ~empty, "D011")]


def read_feature(
    values: pl.Series, name: str, context: Mapping[str, ContextKind] | None = None
) -> tuple[pl.Series, list[Bad]]:
    """A further column; empty values become null. An integer may be written ``12.0``, and ``12.5`` is rounded.

    Args:
        values: The column.
        name: Our name of it.
        context: Kinds of the declared columns.

    Raises:
        DataError: A column whose type has no such values.
    """
    dtype = _POLARS[feature_type(name, context or {})]
    if (
        values.dtype not in _TEXT
        and not values.dtype.is_numeric()
        and values.dtype not in (pl.Boolean, pl.Null)
    ):
        found = _found(values)
        do, expected = "Convert the column, or leave it out.", "text" if dtype == pl.String else "numbers"
        raise DataError(f"D020 column {values.name!r}", expected=expected, found=found, do=do)
    if is_coded(name, context or {}) and (values.dtype.is_float() or values.dtype.is_decimal()):
        found = _found(values)
        do = "Convert the column to integers or text: 7.0 and 7 would be two names."
        raise DataError(f"D020 column {values.name!r}", expected="integers or text", found=found, do=do)
    empty = _is_empty(values)
    if dtype == pl.String:
        return values.cast(pl.String).replace("", None), []
    cast = values.cast(dtype, strict=False)
    if dtype == pl.Int64 and not values.dtype.is_integer():
        # pandas writes integers as 12.0 once a single one is missing; watch times may carry parts of a millisecond.
        rounded = values.cast(pl.Float64, strict=False).round().cast(pl.Int64, strict=False)
        cast = rounded if values.dtype.is_float() else cast.fill_null(rounded)
    bad = cast.is_null() & ~empty
    if dtype == pl.Float32:
        # "nan" is how a missing number is spelt; infinity, and what 32 bits cannot hold, is no value of anything.
        bad = bad | cast.is_infinite().fill_null(value=False)
        cast = cast.fill_nan(None)
    return cast, [Bad(bad, "D020")]


def _is_empty(values: pl.Series) -> pl.Series:
    if values.dtype in _TEXT:
        return values.is_null() | (values.cast(pl.String) == "")
    return values.is_null() | values.is_nan() if values.dtype.is_float() else values.is_null()


def _found(values: pl.Series) -> str:
    example = f" such as {values.head(1).to_list()[0]!r:.80}" if len(values) else ""
    return f"{values.dtype} values{example}"
