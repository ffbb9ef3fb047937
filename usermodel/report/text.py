"""Words and numbers on a page: cleaning, escaping, shortening, formatting."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import Final

#: Shown where there is no value.
MISSING: Final = "–"

# Neither HTML nor XML can hold these: control characters (tab and line breaks excepted), halves of surrogate pairs, non-characters.
_FORBIDDEN: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_NUMBER_LIKE: Final = re.compile(r"(?=.*\d)[\d\s.,:+\-−–±×%()\[\]]+")


def clean(text: object) -> str:
    """``str(text)`` with every character that no document can hold replaced by U+FFFD."""
    return _FORBIDDEN.sub("\ufffd", str(text))


def escape(text: object) -> str:
    """Text that is safe between tags and inside a quoted attribute."""
    return html.escape(clean(text), quote=True)


def shorten(text: object, width: int) -> str:
    """One line of at most ``width`` characters, the end replaced by an ellipsis when it is longer."""
    line = " ".join(clean(text).split())
    return line if len(line) <= width else f"{line[: width - 1].rstrip()}…"


def compact(value: float, places: int | None = None) -> str:
    """A number for an axis: ``0.05``, ``1,200``, ``25k``, ``1.2M``; below 10,000 with ``places`` decimals when given."""
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= max(size, 1e4):
            return f"{value / size:.4g}{unit}".replace("-", "−")
    if places is None:
        places = 0 if value == int(value) else None
    text = f"{value:.4g}" if places is None else f"{value:,.{places}f}"
    return ("0" if value == 0 else text).replace("-", "−")


def is_number(value: object) -> bool:
    """Whether a cell holds a number (a truth value is none)."""
    return isinstance(value, Real) and not isinstance(value, bool)


def is_missing(value: object) -> bool:
    """None and NaN."""
    return value is None or (isinstance(value, Real) and math.isnan(value))


def reads_as_number(value: object) -> bool:
    """Numbers, and text such as ``0.123 ± 0.004``, ``12 %`` or ``[0.1, 0.2]``."""
    return is_number(value) or (isinstance(value, str) and _NUMBER_LIKE.fullmatch(value) is not None)


def decimals(values: Iterable[object]) -> int:
    """Decimal places that suit every fraction of one column: the larger the numbers, the fewer."""
    sizes = [
        abs(float(value)) for value in values if isinstance(value, Real) and not isinstance(value, Integral)
    ]
    finite = [size for size in sizes if math.isfinite(size)]
    if all(size == int(size) for size in finite):
        return 0
    largest = max(finite)
    return next((places for limit, places in ((1, 4), (10, 3), (100, 2), (1000, 1)) if largest < limit), 0)


def format_cell(value: object, places: int) -> str:
    """One table cell as text; ``places`` are the decimal places of its column (see `decimals`)."""
    if is_missing(value):
        return MISSING
    if isinstance(value, bool) or type(value).__name__ in {"bool", "bool_"}:
        return "yes" if value else "no"
    if isinstance(value, Integral):
        return f"{int(value):,}".replace("-", "−")
    if isinstance(value, Real):
        number = float(value)
        rounds_away = number != 0 and math.isfinite(number) and abs(number) < 0.5 * 10**-places
        return (f"{number:.2g}" if rounds_away else f"{number:,.{places}f}").replace("-", "−")
    return clean(value)


def paragraphs(text: str | Sequence[str]) -> list[str]:
    """A string is one paragraph, a sequence one for each entry; blank ones are dropped."""
    return [part for part in ([text] if isinstance(text, str) else text) if part.strip()]
