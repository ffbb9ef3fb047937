"""Times of any spelling -> int64 microseconds UTC, or a clear refusal. Nothing is guessed row by row."""

from __future__ import annotations

from typing import Final, Literal

import polars as pl

from usermodel.errors import DataError

TimeUnit = Literal["auto", "s", "ms", "us", "ns", "order"]

#: Microseconds per unit, as (multiplier, divisor).
_SCALE: Final = {"s": (1_000_000, 1), "ms": (1_000, 1), "us": (1, 1), "ns": (1, 1_000)}
_FIRST_S: Final = 631_152_000  # 1990-01-01
_LAST_S: Final = 4_102_444_800  # 2100-01-01
#: Epoch values of the years 1990 to 2100 in each unit: the ranges do not overlap, so a whole column has one unit or none.
_RANGES: Final = {unit: (_FIRST_S * 1_000_000 * d // m, _LAST_S * 1_000_000 * d // m) for unit, (m, d) in _SCALE.items()}


def parse_times(values: pl.Series, *, where: str, unit: TimeUnit = "auto", tz: str | None = None) -> pl.Series:
    """Convert a time column.

    Args:
        values: Integers (or integers as text), ISO-8601 text, dates, or datetimes.
        where: File and column, for messages.
        unit: Unit of integers; ``"auto"`` finds the one unit in which all values lie between 1990 and 2100;
            ``"order"`` keeps integers as they are, as a mere order.
        tz: Time zone of text and datetimes that do not name one, for example ``"Europe/Berlin"``.

    Returns:
        Int64 microseconds UTC (or the order).

    Raises:
        DataError: Missing values, no times, mixed units, or naive times without ``tz``.
    """
    if values.null_count():
        row = int(values.is_null().arg_true()[0])
        found = f"{values.null_count():,} empty ones, the first in row {row + 1:,}"
        raise DataError(where, expected="a time in every row", found=found, do="Fill or remove these rows.")
    if values.dtype == pl.String:
        numbers = values.cast(pl.Int64, strict=False)
        if numbers.null_count():
            return _text(values, where, tz, is_number=numbers.is_not_null())
        values = numbers
    if values.dtype.is_integer():
        return _numbers(values.cast(pl.Int64), where, unit)
    if values.dtype.is_temporal() and values.dtype != pl.Duration and values.dtype != pl.Time:
        return _datetimes(values.cast(pl.Datetime("us")) if values.dtype == pl.Date else values, where, tz)
    do = "Name the time column, or convert it to integers or ISO-8601 text; floats lose seconds."
    raise DataError(where, expected="times", found=f"{values.dtype} values such as {values[0]!r}", do=do)


def _numbers(values: pl.Series, where: str, unit: TimeUnit) -> pl.Series:
    if unit == "order":
        return values
    if unit == "auto":
        unit = _infer(values, where)
    multiplier, divisor = _SCALE[unit]
    low, high = _RANGES[unit]
    wrong = ((values < low) | (values > high)).arg_true()
    if len(wrong):
        found = f"{values[int(wrong[0])]} in row {int(wrong[0]) + 1:,} ({len(wrong):,} such rows)"
        do = "Mend or remove these rows, or name another --time-unit."
        raise DataError(where, expected=f"times between 1990 and 2100 in {unit}", found=found, do=do)
    return values // divisor * multiplier


def _infer(values: pl.Series, where: str) -> TimeUnit:
    counts = {unit: int(values.is_between(low, high).sum()) for unit, (low, high) in _RANGES.items()}
    used = {unit: count for unit, count in counts.items() if count}
    if len(used) == 1 and sum(used.values()) == len(values):
        return next(iter(used))  # type: ignore[return-value]
    if not used:
        found = f"integers from {values.min()} to {values.max()}"
        do = "Name the unit with --time-unit s|ms|us|ns, or 'order' if the numbers only say which came first."
        raise DataError(where, expected="epoch times between 1990 and 2100", found=found, do=do)
    units = [f"{count:,} in {unit} (first: row {_first_row(values, unit):,})" for unit, count in used.items()]
    outside = len(values) - sum(used.values())
    found = ", ".join(units + ([f"{outside:,} outside 1990 to 2100"] if outside else []))
    raise DataError(where, expected="one unit of time in the whole column", found=found, do="Convert the rows to one unit.")


def _first_row(values: pl.Series, unit: str) -> int:
    low, high = _RANGES[unit]
    return int(values.is_between(low, high).arg_true()[0]) + 1


def _text(values: pl.Series, where: str, tz: str | None, *, is_number: pl.Series) -> pl.Series:
    zoned = values.str.contains(r"(?i)(z|[+-]\d{2}:?\d{2})\s*$") & values.str.contains(r"\d:\d")
    aware = values.str.to_datetime(strict=False, time_unit="us", time_zone="UTC") if zoned.all() else None
    parsed = aware if aware is not None else values.str.to_datetime(strict=False, time_unit="us")
    if parsed.null_count():
        # Most rows decide what the column is; the message shows the first row that is something else.
        odd = parsed.is_null() if 2 * int(is_number.sum()) < len(values) else ~is_number
        row = int(odd.arg_true()[0])
        found = f"{values[row]!r} in row {row + 1:,} ({int(odd.sum()):,} of {len(values):,} rows)"
        do = "Mend or remove the row, or name another time column with --time."
        raise DataError(where, expected="integer times or ISO-8601 text", found=found, do=do)
    return _datetimes(parsed, where, tz)


def _datetimes(values: pl.Series, where: str, tz: str | None) -> pl.Series:
    zone = getattr(values.dtype, "time_zone", None)
    if zone is None and tz is None:
        do = "Name the time zone with --tz, for example --tz UTC."
        raise DataError(where, expected="times with a time zone", found=f"{values[0]} without one", do=do)
    if zone is None and tz is not None:
        try:
            values = values.dt.replace_time_zone(tz, ambiguous="earliest", non_existent="null")
        except pl.exceptions.ComputeError as error:
            raise DataError("--tz", expected="a time zone such as UTC", found=f"{tz!r}: {error!s:.60}", do="Check it.") from None
        if values.null_count():
            row = int(values.is_null().arg_true()[0]) + 1
            do = "Correct the row, or use the zone the clock really ran in."
            raise DataError(where, expected=f"times that exist in {tz}", found=f"a skipped hour in row {row:,}", do=do)
    return values.dt.convert_time_zone("UTC").dt.epoch("us")
