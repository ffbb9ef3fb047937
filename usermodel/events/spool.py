"""Accepted rows on their way from a reader to a store: in memory while they are few, in temporary files when not."""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

import polars as pl

from usermodel.errors import StorageError
from usermodel.schema import TIME

#: Rows held in memory; one takes 16 to 24 bytes. Above it they go to disk, in files of about this size.
SPOOL_ROWS: Final = 1 << 24
_PREFIX: Final = "usermodel-spool-"


class Spool:
    """Rows in the order in which they came.

    The unit of a time column is known once its file was read to the end. Rows that went to disk before get
    their microseconds when they are read again.
    """

    def __init__(self) -> None:
        self._done: list[pl.DataFrame | pl.LazyFrame] = []
        self._open: list[pl.DataFrame | pl.LazyFrame] = []
        self._held = 0
        self.height = 0

    def add(self, rows: pl.DataFrame) -> None:
        """Take rows of the file that is being read, times in the unit of that file."""
        self._open.append(rows)
        self._held += rows.height
        self.height += rows.height
        if self._held >= SPOOL_ROWS:
            self._done, self._open = _to_disk(self._done), _to_disk(self._open)
            self._held = 0

    def end_file(self, multiplier: int, divisor: int) -> None:
        """Turn the times of the file into microseconds."""
        scaled = pl.col(TIME) // divisor * multiplier
        change = (multiplier, divisor) != (1, 1)
        self._done += [part.with_columns(scaled) for part in self._open] if change else self._open
        self._open = []

    def finish(self) -> pl.LazyFrame:
        """All rows; those on disk are there until this process ends."""
        if any(isinstance(part, pl.LazyFrame) for part in self._done):
            self._done = _to_disk(self._done)
            return pl.concat([part.lazy() for part in self._done])
        return pl.concat([part for part in self._done if isinstance(part, pl.DataFrame)]).lazy()

    @property
    def on_disk(self) -> bool:
        """Whether rows went to disk."""
        return any(isinstance(part, pl.LazyFrame) for part in self._done)


def _to_disk(parts: list[pl.DataFrame | pl.LazyFrame]) -> list[pl.DataFrame | pl.LazyFrame]:
    """The same rows, those in memory in a file."""
    out = [part for part in parts if isinstance(part, pl.LazyFrame)]
    # What is on disk already came first.
    frames = [part for part in parts if isinstance(part, pl.DataFrame)]
    return [*out, _written(pl.concat(frames))] if frames else [*out]


def _written(frame: pl.DataFrame) -> pl.LazyFrame:
    folder = _folder()
    path = folder / f"{len(os.listdir(folder)):06d}.arrow"  # noqa: PTH208
    try:
        frame.write_ipc(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        free = shutil.disk_usage(folder).free
        raise StorageError(
            str(folder),
            expected=f"room for {int(frame.estimated_size()) >> 20:,} MiB of a log larger than memory",
            found=f"{free >> 20:,} MiB free: {str(error).splitlines()[0]:.80}",
            do="Make room, or name another folder in the environment variable TMPDIR.",
        ) from None
    return pl.scan_ipc(path)


@cache
def _folder() -> Path:
    """A folder of this process, removed when it ends; what a process that was killed has left is removed here."""
    parent = Path(tempfile.gettempdir())
    for old in parent.glob(f"{_PREFIX}*"):
        lock = _locked(old)
        if lock is not None:
            shutil.rmtree(old, ignore_errors=True)
            os.close(lock)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    _locked(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _locked(folder: Path) -> int | None:
    """A lock on a folder, which ends with the process that holds it; None when another process does."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle
