"""Times of any spelling -> int64 microseconds UTC, or a clear refusal. Nothing is guessed row by row."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Int64
from numpy import ndarray

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
    r"^(?<date>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[Tt ](?<clock>[0-9]{2}:[0-9]{2})(?::(?<second>[0-9]{2})(?:[.,](?<fraction>[0-9]{1,9}))?)?"
    r"[ ]?(?<zone>[Zz]|(?<sign>[+-])(?<hours>[01][0-9]):?(?<minutes>[0-5][0-9])?)?)?$"
)


class Bad(NamedTuple):
    """Rows that hold no time: a mask, the code of the rule they break, and why."""

    rows: pl.Series
    code: str
    reason: str = ""


class TimeColumn:
    """A time column, read block by block, with one meaning from its first row to its last.

    Args:
        where: File and column, for messages about the column as a whole.
        unit: Unit of integers; ``"auto"`` finds the one unit in which all values lie between 1990 and 2100;
            ``"order"`` keeps integers as they are, as a mere order.
        tz: Time zone of text and datetimes that do not name one, for example ``"Europe/Berlin"``. The hour that a
            clock shows twice in autumn is taken as the first of the two.
    """

    def __init__(self, where: str, unit: TimeUnit = "auto", tz: str | None = None) -> None:
        self.where, self.unit, self.tz = where, unit, tz
        self.is_number: bool | None = None
        #: Rows and first place of each unit and spelling met so far.
        self.met: dict[str, tuple[int, str]] = {}
        self.span: tuple[int, int] | None = None

    def block(
        self, values: pl.Series, file: str, lines: Int64[ndarray, " rows"]
    ) -> tuple[pl.Series, list[Bad]]:
        """Convert a block.

        Args:
            values: Integers (or integers as text), ISO-8601 text, dates, or datetimes.
            file: Where the block was read.
            lines: Physical line of each row.

        Returns:
            Int64, in the unit of the column for integers and in microseconds UTC otherwise, null where a row is bad; and
            the bad rows.

        Raises:
            DataError: A column of another kind, or times without a zone and no ``tz``.
        """
        place = _Place(file, lines)
        if values.dtype == pl.String:
            values = values.str.strip_chars().replace("", None)
        empty = Bad(values.is_null(), "D013")
        if values.dtype == pl.Date or isinstance(values.dtype, pl.Datetime):
            # Years that no calendar reaches must not be converted at all.
            values, far = _near(values)
            return self._clock(
                values.cast(pl.Datetime("us")) if values.dtype == pl.Date else values, [empty, far], place
            )
        if values.dtype == pl.String:
            return self._text(values, empty, place)
        if values.dtype.is_integer() or values.dtype == pl.Null:
            return self._numbers(values, values.cast(pl.Int64, strict=False), [empty], place)
        do = "Name the time column, or convert it to integers or ISO-8601 text; floats lose seconds."
        found = f"{values.dtype} values such as {values.head(1).to_list()[0]!r}"
        raise DataError(self.where, expected="times", found=found, do=do)

    def finish(self) -> tuple[int, int]:
        """Multiplier and divisor that turn the values of all blocks into microseconds.

        Raises:
            DataError: The column mixes units, or spellings with and without a zone.
        """
        if "naive" in self.met and "zoned" in self.met:
            found = " and ".join(
                f"{count:,} {kind} (first: {place})" for kind, (count, place) in self.met.items()
            )
            do = "Write the offset from UTC in every row, or in none and name --tz."
            raise DataError(f"D016 {self.where}", expected="a time zone in every row", found=found, do=do)
        units = {unit: facts for unit, facts in self.met.items() if unit in _SCALE}
        if self.unit == "order" or not self.is_number:
            return 1, 1
        if self.unit != "auto":
            return _SCALE[self.unit]
        if not units and self.span:
            found = f"integers from {self.span[0]} to {self.span[1]}"
            do = "Name the unit with --time-unit s|ms|us|ns, or 'order' if the numbers only say which came first."
            raise DataError(self.where, expected="epoch times between 1990 and 2100", found=found, do=do)
        if len(units) > 1:
            found = ", ".join(
                f"{count:,} in {unit} (first: {place})" for unit, (count, place) in units.items()
            )
            do = "Convert or remove the odd rows."
            raise DataError(
                f"D015 {self.where}", expected="one unit of time in the whole column", found=found, do=do
            )
        return _SCALE[next(iter(units))] if units else (1, 1)

    def why(self) -> str:
        """What was taken for the unit, and why; for ``--dry-run``."""
        if self.unit != "auto":
            return f"{self.unit}, as declared"
        if not self.is_number:
            return "ISO-8601 text or datetimes" + (f", in {self.tz}" if self.tz else "")
        units = [
            f"{unit} ({count:,} rows lie between 1990 and 2100 in it)"
            for unit, (count, _) in self.met.items()
        ]
        return ", ".join(units) or "unknown: no row lies between 1990 and 2100 in any unit"

    def _text(self, values: pl.Series, empty: Bad, place: _Place) -> tuple[pl.Series, list[Bad]]:
        # An integer that a program wrote as a float, 881250949.0, is that integer.
        numbers = values.str.replace(r"^(-?\d+)\.0+$", "$1").cast(pl.Int64, strict=False)
        filled = len(values) - int(empty.rows.sum())
        if self.is_number is None and not filled:
            return numbers, [empty]
        if self.is_number is None:
            # Most rows of the first block that has any decide what the column is; the others are then the odd ones.
            self.is_number = 2 * int(numbers.is_not_null().sum()) >= filled
        if self.is_number:
            mixed = Bad(
                numbers.is_null() & values.str.contains(_ISO).fill_null(value=False),
                "D012",
                "text in a column of integers",
            )
            bad = [empty, mixed, Bad(numbers.is_null() & ~empty.rows, "D012")]
            return self._numbers(values, numbers, bad, place)
        parts = values.str.extract_groups(_ISO).struct.unnest()
        clock = (
            parts["date"] + "T" + parts["clock"].fill_null("00:00") + ":" + parts["second"].fill_null("00")
        )
        parsed = clock.str.to_datetime("%Y-%m-%dT%H:%M:%S", time_unit="us", strict=False)
        mixed = Bad(numbers.is_not_null(), "D012", "an integer in a column of ISO-8601 text")
        unread = Bad(parsed.is_null() & ~empty.rows, "D012")
        sign = 1 - 2 * (parts["sign"] == "-").fill_null(value=False).cast(pl.Int64)
        hours, minutes = (parts[name].fill_null("0").cast(pl.Int64) for name in ("hours", "minutes"))
        # The borders are those of UTC: a clock behind it may show the year before.
        moved = parsed.dt.epoch("us") - sign * (hours * 60 + minutes) * 60_000_000
        parsed, far = _near(moved.cast(pl.Datetime("us")))
        is_time = parsed.is_not_null()
        naive, zoned = is_time & parts["zone"].is_null(), is_time & parts["zone"].is_not_null()
        bad = [empty, mixed, unread, far]
        self._meet("zoned", zoned, place)
        fraction = parts["fraction"].fill_null("0").str.pad_end(9, "0").cast(pl.Int64) // 1_000
        utc = parsed.dt.epoch("us")
        if naive.any():
            local, more = self._clock(parsed, [], place, only=naive)
            utc, bad = local.zip_with(naive, utc), bad + more
        return utc + fraction, bad

    def _numbers(
        self, raw: pl.Series, values: pl.Series, bad: list[Bad], place: _Place
    ) -> tuple[pl.Series, list[Bad]]:
        self.is_number = True
        overflow = values.is_null() & raw.is_not_null() & ~bad[-1].rows
        bad = [*bad, Bad(overflow, "D012", "not a 64-bit integer")]
        if self.unit == "order" or not values.len() - values.null_count():
            return values, bad
        low, high = values.min(), values.max()
        assert isinstance(low, int)
        assert isinstance(high, int)
        self.span = (min(low, self.span[0]), max(high, self.span[1])) if self.span else (low, high)
        inside = pl.Series([False]).new_from_index(0, len(values))
        for unit, (first, last) in _RANGES.items():
            if self.unit in {"auto", unit} and high >= first and low <= last:
                fits = values.is_between(first, last).fill_null(value=False)
                self._meet(unit, fits, place)
                inside = inside | fits
        return values, [
            *bad,
            Bad(values.is_not_null() & ~inside, "D014", "" if self.unit == "auto" else f"in {self.unit}"),
        ]

    def _clock(
        self, values: pl.Series, bad: list[Bad], place: _Place, only: pl.Series | None = None
    ) -> tuple[pl.Series, list[Bad]]:
        """Datetimes -> microseconds UTC; ``only`` marks the rows that count."""
        counted = values.is_not_null() if only is None else only
        if getattr(values.dtype, "time_zone", None) is not None:
            self._meet("zoned", counted, place)
            return values.dt.convert_time_zone("UTC").dt.epoch("us"), bad
        self._meet("naive", counted, place)
        if not self.tz:
            found = f"{values.filter(counted).head(1).to_list()[0]} without one, in line {place.of(counted)}"
            do = "Name the time zone with --tz, for example --tz UTC."
            raise DataError(f"D016 {self.where}", expected="times with a time zone", found=found, do=do)
        try:
            local = values.dt.replace_time_zone(self.tz, ambiguous="earliest", non_existent="null")
        except pl.exceptions.ComputeError:
            do = "Take a name of the tz database, for example UTC or Europe/Berlin."
            raise DataError("--tz", expected="the name of a time zone", found=repr(self.tz), do=do) from None
        skipped = Bad(counted & local.is_null(), "D017", f"an hour that {self.tz} skips")
        return local.dt.convert_time_zone("UTC").dt.epoch("us"), [*bad, skipped]

    def _meet(self, what: str, rows: pl.Series, place: _Place) -> None:
        count = int(rows.sum())
        if count:
            before, first = self.met.get(what, (0, ""))
            self.met[what] = (before + count, first or f"{place.file}:{place.of(rows)}")


def _near(values: pl.Series) -> tuple[pl.Series, Bad]:
    """Dates or datetimes between 1990 and 2100, the others null and bad."""
    per_day = {"ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}
    day = per_day[values.dtype.time_unit] if isinstance(values.dtype, pl.Datetime) else 1
    low, high = (bound // 86_400 * day for bound in (_FIRST_S, _LAST_S))
    far = ~values.to_physical().is_between(low, high).fill_null(value=True)
    return values.set(far, None), Bad(far, "D014")


class _Place(NamedTuple):
    file: str
    lines: Int64[ndarray, " rows"]

    def of(self, rows: pl.Series) -> int:
        """Line of the first true row."""
        return int(self.lines[int(np.argmax(rows.to_numpy()))])
