"""What goes into a file of vectors and comes out of it, a block of rows at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol, Self

import polars as pl
from jaxtyping import Int64
from numpy import ndarray

from usermodel.embedding_files.precision import Stored


@dataclass(frozen=True)
class Rows:
    """Some rows of a table.

    Attributes:
        ids: External ids; the name of the series is that of the column.
        columns: Further facts per row; always the same columns in one file.
        stored: The vectors.
    """

    ids: pl.Series
    columns: pl.DataFrame
    stored: Stored


class Writer(ABC):
    """Writes one table; nothing but a block is in memory, ids and columns of all rows apart. Used in a ``with`` statement."""

    @abstractmethod
    def add(self, rows: Rows) -> None:
        """Append rows; at least once, perhaps with none."""

    @abstractmethod
    def complete(self) -> None:
        """Complete the files after the last row."""

    @abstractmethod
    def discard(self) -> None:
        """Let go of files that will not be used."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.complete()
        finally:
            self.discard()


class Reader(Protocol):
    """A table on disk.

    Attributes:
        ids: Ids of all rows.
        columns: Further facts of all rows.
    """

    ids: pl.Series
    columns: pl.DataFrame

    def take(self, rows: Int64[ndarray, " n"]) -> Stored:
        """Some rows, increasing: what is asked for in order is read once."""
        ...

    def all(self) -> Stored:
        """All rows; memory-mapped where the format allows."""
        ...
