"""Times of any spelling -> int64 microseconds UTC, or a clear refusal. Nothing is guessed row by row."""

from __future__ import annotations

from typing import Final, Literal

import polars as pl

from usermodel.errors import DataError

TimeUnit = Literal["auto", "s", "ms", "us", "ns", "order"]
_Unit = Literal["s", "ms", "us", "ns"]

#: Microseconds per unit, as (multiplier, divisor).
_SCALE: Final[dict[_Unit, tuple[int, int]]] = {
    "s": (1_000_000, 1),
    "ms": (1_000, 1),
    "us": (1, 1),
    "ns": (1, 1_000),
}
_FIRST_S: Final = 631_152_000  # 1990-01-01
_LAST_S: Final = 4_102_444_800  # 2100-01-01
#: Epoch values of the years 1990 to 2100 in each unit: the ranges do not overlap, so a whole column has one unit or none.
_RANGES: Final = {
    unit: (_FIRST_S * 1_000_000 * d // m, _LAST_S * 1_000_000 * d // m) for unit, (m, d) in _SCALE.items()
}
#: ISO-8601 date, then optionally a clock time (minutes, seconds, fraction) and its offset from UTC. No other order of
#: day and month is read: 03/04/2020 has two meanings.
_ISO: Final = (
    r"^(?<date>\d{4}-\d\d-\d\d)"
    r"(?:[Tt ](?<clock>\d\d:\d\d)(?::(?<second>\d\d)(?:[.,](?<fraction>\d{1,9}))?)?"
    r"[ ]?(?<zone>[Zz]|(?<sign>[+-])(?<hours>[01]\d):?(?<minutes>[0-5]\d)?)?)?$"
)


def parse_times(
    values: pl.Series, *, where: str, unit: TimeUnit = "auto", tz: str | None = None
) -> pl.Series:
    """Convert a time column.

    Args:
        values: Integers (or integers as text), ISO-8601 text, dates, or datetimes.
        where: File and column, for messages.
        unit: Unit of integers; ``"auto"`` finds the one unit in which all values lie between 1990 and 2100;
            ``"order"`` keeps integers as they are, as a mere order.
        tz: Time zone of text and datetimes that do not name one, for example ``"Europe/Berlin"``. The hour that a
            clock shows twice in autumn is taken as the first of the two.

    Returns:
        Int64 microseconds UTC (or the order).

    Raises:
        DataError: Missing values, no times, mixed units, or naive times without ``tz``.
    """
    if values.dtype == pl.String:
        values = values.str.strip_chars()
    empty = values.is_null() if values.dtype != pl.String else values.is_null() | (values == "")
    if empty.any():
        found = f"{int(empty.sum()):,} empty ones, the first in row {_first(empty):,}"
        raise DataError(where, expected="a time in every row", found=found, do="Fill or remove these rows.")
    if values.dtype == pl.String:
        numbers = values.cast(pl.Int64, strict=False)
        if numbers.null_count():
            return _text(values, where, tz, is_number=numbers.is_not_null())
        values = numbers
    if values.dtype.is_integer():
        return _numbers(values, where, unit)
    if values.dtype == pl.Date:
        values = values.cast(pl.Datetime("us"))
    if isinstance(values.dtype, pl.Datetime):
        return _datetimes(values, where, tz)
    do = "Name the time column, or convert it to integers or ISO-8601 text; floats lose seconds."
    raise DataError(
        where, expected="times", found=f"{values.dtype} values such as {values.head(1).to_list()[0]!r}", do=do
    )


def _first(is_odd: pl.Series) -> int:
    """Number of the first true row, from 1."""
    return int(is_odd.arg_true()[0]) + 1


def _numbers(values: pl.Series, where: str, unit: TimeUnit) -> pl.Series:
    exact = values.cast(pl.Int64, strict=False)
    if exact.null_count():
        row = _first(exact.is_null())
        found = f"{values[row - 1]} in row {row:,}"
        raise DataError(where, expected="64-bit integers", found=found, do="Mend or remove the row.")
    values = exact
    if unit == "order":
        return values
    scale = _infer(values, where) if unit == "auto" else unit
    multiplier, divisor = _SCALE[scale]
    wrong = ~values.is_between(*_RANGES[scale])
    if wrong.any():
        row = _first(wrong)
        found = f"{values[row - 1]} in row {row:,} ({int(wrong.sum()):,} such rows)"
        do = "Mend or remove these rows, or name another --time-unit."
        raise DataError(where, expected=f"times between 1990 and 2100 in {scale}", found=found, do=do)
    return values // divisor * multiplier


def _infer(values: pl.Series, where: str) -> _Unit:
    fits = {unit: values.is_between(low, high) for unit, (low, high) in _RANGES.items()}
    used = {unit: mask for unit, mask in fits.items() if mask.any()}
    if not used:
        found = f"integers from {values.min()!s} to {values.max()!s}"
        do = "Name the unit with --time-unit s|ms|us|ns, or 'order' if the numbers only say which came first."
        raise DataError(where, expected="epoch times between 1990 and 2100", found=found, do=do)
    unit, mask = next(iter(used.items()))
    if mask.all():
        return unit
    outside = pl.select(~pl.any_horizontal(*used.values())).to_series()
    parts = [f"{int(mask.sum()):,} in {unit} (first: row {_first(mask):,})" for unit, mask in used.items()]
    if outside.any():
        row = _first(outside)
        parts.append(f"{int(outside.sum()):,} outside 1990 to 2100 (first: {values[row - 1]} in row {row:,})")
    do = "Convert or remove the odd rows."
    raise DataError(where, expected="one unit of time in the whole column", found=", ".join(parts), do=do)


def _text(values: pl.Series, where: str, tz: str | None, *, is_number: pl.Series) -> pl.Series:
    parts = values.str.extract_groups(_ISO).struct.unnest()
    clock = parts["date"] + "T" + parts["clock"].fill_null("00:00") + ":" + parts["second"].fill_null("00")
    parsed = clock.str.to_datetime("%Y-%m-%dT%H:%M:%S", time_unit="us", strict=False)
    if parsed.null_count():
        # Most rows decide what the column is; the message shows the first row that is something else.
        odd = parsed.is_null() if 2 * int(is_number.sum()) < len(values) else ~is_number
        row = _first(odd)
        found = f"{values[row - 1]!r} in row {row:,} ({int(odd.sum()):,} of {len(values):,} rows)"
        do = "Mend or remove the row, or name another time column with --time."
        raise DataError(where, expected="integer times or ISO-8601 text", found=found, do=do)
    fraction = parts["fraction"].fill_null("0").str.pad_end(9, "0").cast(pl.Int64) // 1_000
    naive = parts["zone"].is_null()
    if naive.all():
        return _datetimes(parsed, where, tz) + fraction
    if naive.any():
        row = _first(naive)
        found = f"{int(naive.sum()):,} rows without one (first: {values[row - 1]!r} in row {row:,})"
        do = "Write the offset from UTC in every row, or in none and name --tz."
        raise DataError(where, expected="a time zone in every row", found=found, do=do)
    sign = 1 - 2 * (parts["sign"] == "-").fill_null(value=False).cast(pl.Int64)
    hours, minutes = (parts[name].fill_null("0").cast(pl.Int64) for name in ("hours", "minutes"))
    return parsed.dt.epoch("us") + fraction - sign * (hours * 60 + minutes) * 60_000_000


def _datetimes(values: pl.Series, where: str, tz: str | None) -> pl.Series:
    zone = getattr(values.dtype, "time_zone", None)
    if zone is None and not tz:
        do = "Name the time zone with --tz, for example --tz UTC."
        raise DataError(where, expected="times with a time zone", found=f"{values[0]} without one", do=do)
    if zone is None and tz:
        try:
            values = values.dt.replace_time_zone(tz, ambiguous="earliest", non_existent="null")
        except pl.exceptions.ComputeError:
            do = "Take a name of the tz database, for example UTC or Europe/Berlin."
            raise DataError("--tz", expected="the name of a time zone", found=repr(tz), do=do) from None
        if values.null_count():
            found = f"a skipped hour in row {_first(values.is_null()):,}"
            do = "Correct the row, or use the zone the clock really ran in."
            raise DataError(where, expected=f"times that exist in {tz}", found=found, do=do)
    return values.dt.convert_time_zone("UTC").dt.epoch("us")
