"""The folder of a run before and while it is trained: looked at, made, locked, cleared."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from usermodel import manifest
from usermodel.errors import OutputExistsError, StorageError
from usermodel.training.run import is_run
from usermodel.training.stages import BEFORE


def holds_something(folder: Path) -> bool:
    """Whether there is more than what a writer that was killed at once left behind."""
    if folder.exists() and not folder.is_dir():
        do = "Choose another name."
        raise OutputExistsError(str(folder), expected="a folder, or nothing yet", found="a file", do=do)
    return folder.is_dir() and any(".tmp-" not in path.name for path in folder.iterdir())


def refuse(folder: Path, overwrite: bool) -> None:
    """Raise `OutputExistsError` unless the folder is a run that may be replaced."""
    if not overwrite:
        expected, found = "a folder that does not exist yet", "one that is not empty"
        do = "Choose another name, continue it with --resume, or replace it with --overwrite."
        raise OutputExistsError(str(folder), expected=expected, found=found, do=do)
    if not is_run(folder):
        do = "Move it away, or choose another name."
        raise OutputExistsError(
            str(folder), expected="a run to replace", found="a folder that is no run", do=do
        )


def make(folder: Path) -> None:
    """Make the folder; raises `StorageError` where that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        found, do = error.strerror or str(error), "Choose another place."
        raise StorageError(str(folder), expected="a place that can be written", found=found, do=do) from error


def clear(folder: Path) -> None:
    """Remove what a run consists of, and nothing else.

    The manifest goes first and config.json is replaced last: killed at any moment, this leaves an unfinished run.
    """
    (folder / manifest.NAME).unlink(missing_ok=True)
    (folder / "metrics.csv").unlink(missing_ok=True)
    for name in ("checkpoints", "encoder", "head", "tensorboard", BEFORE):
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Refuse a second process; the lock ends with the process, however that ends."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            # Some network file systems cannot lock a folder; then there is no protection.
            if error.errno in {errno.EAGAIN, errno.EACCES}:
                expected, found = "a run that nobody is training", "one that another process trains now"
                do = "Wait for it, or choose another name."
                raise OutputExistsError(str(folder), expected=expected, found=found, do=do) from None
        yield
    finally:
        os.close(handle)
