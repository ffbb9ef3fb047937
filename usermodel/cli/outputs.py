"""Files without a manifest that a command writes beside its work: their names are looked at first."""

from __future__ import annotations

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
