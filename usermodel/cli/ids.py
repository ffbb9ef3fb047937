"""Ids on the command line: written down, or in a file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import polars as pl

HELP: Final = "Ids separated by commas, or a file with one id a line, which may hold commas and blanks."


def read_ids(
    given: str, kind: str, option: str = "--users", known: pl.Series | None = None
) -> list[str] | list[int]:
    """Ids separated by commas, or one a line of a file; each once, in order.

    Blanks around a comma are left out. Lines of a file are ids as they stand, blanks and commas included.

    Args:
        given: What was typed.
        kind: ``string`` or ``int``.
        option: For messages.
        known: The ids there are, where they are at hand: text with commas that is one of them is one id.

    Raises:
        DataError: No id, one that is no integer where ids are integers, text that can be read in two ways, or text that is no file
            and names no id there is.
    """
    from usermodel.errors import DataError

    ids = list(dict.fromkeys(_words(given, option, known)))
    if not ids:
        do = f"For example {option} A,B."
        raise DataError(option, expected="at least one id", found=repr(given), do=do)
    if kind == "string":
        _require_some(given, option, ids, known)
        return ids
    numbers = [word.strip() for word in ids]
    wrong = [
        word
        for word in numbers
        if not re.fullmatch(r"-?[0-9]{1,19}", word) or not -(2**63) <= int(word) < 2**63
    ]
    if wrong:
        do = "Check the ids." if _is_file(given) else "Check the ids, or the name of the file."
        raise DataError(option, expected="integer ids, as in this store", found=repr(wrong[0]), do=do)
    found = list(dict.fromkeys(map(int, numbers)))
    _require_some(given, option, found, known)
    return found


def id_lines(path: Path) -> list[str]:
    """Lines of a file that are not empty, letter by letter: blanks at either end belong to an id.

    Raises:
        DataError: No text in UTF-8.
    """
    from usermodel.errors import DataError

    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found = f"{error.reason} at byte {error.start:,}"
        raise DataError(str(path), expected="text in UTF-8", found=found, do="Re-encode it.") from None
    return [line for line in text.replace("\r\n", "\n").split("\n") if line]


def _words(given: str, option: str, known: pl.Series | None) -> list[str]:
    parts = [word.strip() for word in given.split(",") if word.strip()]
    is_file = _is_file(given)
    is_id = (is_file or len(parts) > 1) and _all_known([given], known)
    readings = {
        "the name of a file": is_file,
        "one id": is_id,
        f"{len(parts)} ids": is_id and len(parts) > 1 and _all_known(parts, known),
    }
    _require_one(given, option, [name for name, there in readings.items() if there])
    if is_file:
        return id_lines(Path(given))
    return [given] if is_id else parts


def _require_one(given: str, option: str, readings: list[str]) -> None:
    from usermodel.errors import DataError

    if len(readings) > 1:
        do = "Write the ids into a file, one a line, and name it ./FILE."
        found = f"{given!r}, which is {' and '.join(readings)}"
        raise DataError(option, expected="text that can be read in one way", found=found, do=do)


def _require_some(given: str, option: str, ids: list[str] | list[int], known: pl.Series | None) -> None:
    """Raise `DataError` where text is no file and none of its ids is known: it may be the name of a file that is not there."""
    import polars as pl

    from usermodel.errors import DataError

    if known is None or _is_file(given):
        return
    if not pl.Series(map(str, ids), dtype=pl.String).is_in(known.cast(pl.String).implode()).any():
        expected, found = "an id that is known, or a file of ids", f"{given!r:.80}, which is neither"
        raise DataError(option, expected=expected, found=found, do="Check the ids, or the name of the file.")


def _all_known(words: list[str], known: pl.Series | None) -> bool:
    import polars as pl

    if known is None:
        return False
    return bool(pl.Series(words, dtype=pl.String).is_in(known.cast(pl.String).implode()).all())


def _is_file(given: str) -> bool:
    try:
        return Path(given).is_file()
    except OSError:
        # Too long for a name, for example.
        return False
