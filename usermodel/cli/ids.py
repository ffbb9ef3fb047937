"""Ids on the command line: written down, or in a file."""

from __future__ import annotations

import re
from pathlib import Path


def read_ids(given: str, kind: str, option: str = "--users") -> list[str] | list[int]:
    """Ids separated by commas, or one a line of a file; each once, in order.

    Args:
        given: What was typed.
        kind: ``string`` or ``int``.
        option: For messages.

    Raises:
        DataError: No id, or one that is no integer where ids are integers.
    """
    from usermodel.errors import DataError

    lines = _lines(given, option) or given.split(",")
    ids = list(dict.fromkeys(word.strip() for word in lines if word.strip()))
    if not ids:
        do = f"For example {option} A,B."
        raise DataError(option, expected="at least one id", found=repr(given), do=do)
    if kind == "string":
        return ids
    wrong = [
        word for word in ids if not re.fullmatch(r"-?[0-9]{1,19}", word) or not -(2**63) <= int(word) < 2**63
    ]
    if wrong:
        do = "Check the ids."
        raise DataError(option, expected="integer ids, as in this store", found=repr(wrong[0]), do=do)
    return [int(word) for word in ids]


def _lines(given: str, option: str) -> list[str]:
    """Lines of the file of that name; none where there is no such file, or it is no name of one."""
    from usermodel.errors import DataError

    try:
        if not Path(given).is_file():
            return []
        return Path(given).read_text(encoding="utf-8-sig").splitlines()
    except OSError:
        return []
    except UnicodeDecodeError as error:
        found = f"{error.reason} at byte {error.start:,}"
        raise DataError(
            option, expected=f"text in UTF-8 in {given}", found=found, do="Re-encode it."
        ) from None
