"""Pieces: what every format hands on, a table of raw columns with the line of each row and the rows that broke."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import polars as pl
from jaxtyping import Int64
from numpy import ndarray

from usermodel.errors import DataError, nearest, shorten
from usermodel.events.rejects import Reject


@dataclass(frozen=True)
class Piece:
    """Part of a log.

    Attributes:
        file: Where it was read.
        frame: Columns by the caller's names; text for text formats, typed for tables.
        lines: Physical line of each row (row number in a table), from 1.
        rejects: Rows that could not be split into fields; not in ``frame``.
    """

    file: str
    frame: pl.DataFrame
    lines: Int64[ndarray, " rows"]
    rejects: list[Reject] = field(default_factory=list)

    @property
    def n_rows(self) -> int:
        """Rows, the broken ones included."""
        return self.frame.height + len(self.rejects)

    def filter(self, keep: pl.Series) -> Piece:
        """Only the rows where ``keep`` is true."""
        return Piece(self.file, self.frame.filter(keep), self.lines[keep.to_numpy()], self.rejects)


def numbered(file: str, frame: pl.DataFrame, first: int) -> Piece:
    """A piece whose rows stand on consecutive lines."""
    return Piece(file, frame, np.arange(first, first + frame.height, dtype=np.int64))


def require_columns(wanted: list[str], names: list[str], where: str) -> None:
    """Raise `DataError` for the first column that is not there, naming the nearest, or for one that is there twice."""
    for at, name in enumerate(wanted):
        if name not in names:
            found = f"the columns {shorten([repr(one) for one in names])}"
            # The columns that every event has come first.
            which = "Name it with --user, --item, --time." if at < 3 else "Correct the option that names it."
            do = f"{nearest(name, names)} {which}"
            if len(names) == 1:
                odd = next((one for one in (";", "\t", "|", ",") if one in names[0]), None)
                do = f"Is the separator {odd!r}? Name it with --separator." if odd else do
            raise DataError(f"D001 {where}", expected=f"a column {name!r}", found=found, do=do)
        if names.count(name) > 1:
            raise DataError(
                f"D001 {where}", expected=f"one column {name!r}", found="several", do="Rename the columns."
            )
