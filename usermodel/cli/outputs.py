"""Files without a manifest that a command writes beside its work: their names are looked at first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def refuse_taken(path: Path, overwrite: bool) -> None:
    """Ask for the name of a file that does not exist yet, before the work begins; for files without a manifest.

    Raises:
        DataError: A folder, or a device.
        OutputExistsError: A file that is there, without ``overwrite``.
    """
    from usermodel.errors import DataError, OutputExistsError

    if path.exists() and not path.is_file():
        found = "a folder" if path.is_dir() else "no regular file"
        do = "Name a file, for example report.html or scores.json."
        raise DataError(str(path), expected="the name of a file", found=found, do=do)
    if not overwrite and (path.exists() or path.is_symlink()):
        do = "Choose another name, or pass --overwrite."
        expected, found = "an output that does not exist yet", "an existing one"
        raise OutputExistsError(str(path), expected=expected, found=found, do=do)


def refuse_outputs(paths: Sequence[Path], overwrite: bool) -> None:
    """`refuse_taken` for all files of a command, which must be several.

    Raises:
        ConfigError: Two of them are one file.
    """
    from usermodel.errors import ConfigError

    for path in paths:
        refuse_taken(path, overwrite)
    if len({path.resolve() for path in paths}) < len(paths):
        do = "Name another file."
        raise ConfigError("outputs", expected="a file for each", found=f"{paths[0]} twice", do=do)
