"""Ids on the command line: written down, or in a file."""

from __future__ import annotations

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

    path = Path(given)
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else given.split(",")
    ids = list(dict.fromkeys(word.strip() for word in lines if word.strip()))
    if not ids:
        do = f"For example {option} A,B."
        raise DataError(option, expected="at least one id", found=repr(given), do=do)
    if kind == "string":
        return ids
    wrong = [word for word in ids if not word.lstrip("-").isdigit()]
    if wrong:
        do = "Check the ids."
        raise DataError(option, expected="integer ids, as in this store", found=repr(wrong[0]), do=do)
    return [int(word) for word in ids]
