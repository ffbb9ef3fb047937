"""The errors of this package. Every message says what was expected, what was found, and what to do.

Each kind carries the exit code that the command line ends with: 2 usage or data, 4 integrity, 5 storage,
6 numeric, 7 interrupted and resumable. Kinds also inherit from the built-in exception a Python caller would
expect, so ``except ValueError`` works.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class UserModelError(Exception):
    """Base of every error this package raises on purpose.

    Args:
        where: The file, column, key or argument at fault.
        expected: What would have been right.
        found: What was there instead.
        do: The mend, as an instruction.
    """

    exit_code = 2

    def __init__(self, where: str, *, expected: str, found: str, do: str) -> None:
        # Other libraries' sentences, quoted as what was found, may bring a full stop of their own.
        self.where, self.expected, self.found, self.do = where, expected, found.rstrip("."), do
        super().__init__(f"{where}: expected {expected}; found {self.found}. {do}")

    def __reduce__(self) -> tuple[object, ...]:
        """Errors cross process borders; keyword-only fields need a hand-made recipe."""
        return _rebuild, (type(self), self.where, self.expected, self.found, self.do)


def _rebuild(kind: type[UserModelError], where: str, expected: str, found: str, do: str) -> UserModelError:
    return kind(where, expected=expected, found=found, do=do)


class DataError(UserModelError, ValueError):
    """A log, a table or an argument holds something it may not hold."""


class ConfigError(UserModelError, ValueError):
    """A recipe or an option is misspelt, of the wrong type, or impossible."""


class MissingError(UserModelError, FileNotFoundError):
    """A file, a folder, an id or an optional dependency is not there."""


class OutputExistsError(UserModelError, FileExistsError):
    """The output is already there and nobody said to replace it."""


class MismatchError(UserModelError, ValueError):
    """Two artefacts do not belong together (vocabularies, hashes, widths)."""


class IntegrityError(UserModelError, ValueError):
    """An artefact is damaged: a hash, a size or a structure is wrong."""

    exit_code = 4


class StorageError(UserModelError, OSError):
    """The disk or the object store said no: full, read-only, no access, failing."""

    exit_code = 5


class NumericError(UserModelError, ArithmeticError):
    """A loss or a score is not finite."""

    exit_code = 6


class InterruptedRunError(UserModelError, RuntimeError):
    """Training was asked to stop, saved a checkpoint and can be resumed."""

    exit_code = 7


class LostProcessError(UserModelError, RuntimeError):
    """A process of a run that several train was killed, or hangs; the last checkpoint can be resumed."""

    exit_code = 7


def nearest(word: str, words: Iterable[object]) -> str:
    """``"Did you mean 'dim'?"`` for the closest of ``words``, whatever its case; all of them when nothing is close."""
    choices = sorted(map(str, words))
    lower = {choice.lower(): choice for choice in reversed(choices)}
    close = difflib.get_close_matches(word.lower(), lower, n=1, cutoff=0.5)
    if close:
        return f"Did you mean {lower[close[0]]!r}?"
    return f"Choose one of: {shorten(choices)}." if choices else "There is none to choose from."


def shorten(words: Sequence[object], most: int = 20) -> str:
    """Words with commas between them; of a long list the first ones and the number of the others."""
    rest = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(map(str, words[:most])) + rest
