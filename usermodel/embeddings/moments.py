"""Times as callers write them -> the numbers of a store."""

from __future__ import annotations

import operator
import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from usermodel.errors import ConfigError
from usermodel.schema import PLAUSIBLE, TimeKind

Moment = datetime | str | int
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(time: datetime) -> int:
    """Microseconds since 1970 UTC.

    Raises:
        ValueError: A time without a zone.
    """
    if time.tzinfo is None:
        raise ValueError("a time without a zone")
    return (time - _EPOCH) // timedelta(microseconds=1)


def moment(value: Moment, kind: TimeKind, where: str = "as_of", *, calendar: bool = False) -> int:
    """A moment in the unit of a store: a whole number as it is, a datetime or ISO-8601 text as microseconds UTC.

    Args:
        value: What a caller wrote.
        kind: What the times of the store are.
        where: For messages.
        calendar: Whether the store is known to hold times of 1990 to 2100: numbers in another unit then show.

    Raises:
        ConfigError: Neither; a time without a zone; a time for a store that only knows an order; or a number in another
            unit.
    """
    number: Any = value
    if hasattr(number, "__index__") and not isinstance(number, bool):
        return _bounded(operator.index(number), where, calendar=calendar)
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]+", value):
        return _bounded(int(value), where, calendar=calendar)
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else value
        found = microseconds(time) if isinstance(time, datetime) else None
    except ValueError:
        found = None
    if found is None:
        do = "Write, for example, 2025-06-30T00:00:00+00:00, or microseconds since 1970 UTC."
        raise ConfigError(where, expected="a time with a zone", found=repr(value), do=do)
    if kind == "order":
        do = "Give a position in the history, or ingest a log with times."
        raise ConfigError(
            where,
            expected="a whole number, because the events have an order and no times",
            found=repr(value),
            do=do,
        )
    return found


def _bounded(value: int, where: str, *, calendar: bool) -> int:
    if not -(2**63) <= value < 2**63:
        do = "Give microseconds since 1970 UTC, or a position."
        raise ConfigError(where, expected="a 64-bit integer", found=f"{value}", do=do)
    if calendar and not PLAUSIBLE[0] <= value <= PLAUSIBLE[1]:
        do = "Convert it, or write the time out, for example 2025-06-30T00:00:00+00:00."
        expected = "microseconds since 1970 UTC, of the years 1990 to 2100"
        raise ConfigError(where, expected=expected, found=f"{value}", do=do)
    return value
