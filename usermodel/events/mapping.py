"""Pieces of raw columns -> rows of the EVENTS schema, every row accepted or accounted for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from usermodel.errors import DataError
from usermodel.events.columns import read_feature, read_ids
from usermodel.events.piece import Piece
from usermodel.events.rejects import NO_GOOD_ROW, Accounting, Reject
from usermodel.events.spool import Spool
from usermodel.events.times import Bad, TimeColumn, TimeUnit
from usermodel.schema import ITEM, TIME, USER, ContextKind, IdType, feature_names, is_coded


@dataclass(frozen=True)
class Columns:
    """Which columns of the source are what.

    Attributes:
        user: Column of the user ids.
        item: Column of the item ids.
        time: Column of the times; None when the order of the rows is all there is.
        features: Further columns: our name -> theirs.
        id_type: ``string`` or ``int``.
        context: Kinds of those further columns that `schema.EVENT_FEATURES` does not have.
    """

    user: str
    item: str
    time: str | None
    features: Mapping[str, str] = field(default_factory=dict)
    id_type: IdType = "string"
    context: Mapping[str, ContextKind] = field(default_factory=dict)

    @property
    def wanted(self) -> list[str]:
        """Columns to read.

        Raises:
            DataError: One column in two roles.
        """
        roles = [self.user, self.item] + ([self.time] if self.time is not None else [])
        if len(set(roles)) < len(roles):
            found = ", ".join(map(repr, roles))
            do = "Name three columns."
            raise DataError(
                "columns", expected="different columns for user, item and time", found=found, do=do
            )
        return list(dict.fromkeys([*roles, *self.features.values()]))


class Mapper:
    """Collects the accepted rows of a log.

    Ids, sessions and categories are coded as they come: ten million events of a log with text ids then cost 16 bytes
    each, not 60, and every further column of text 4.
    """

    def __init__(
        self, columns: Columns, where: str, accounting: Accounting, unit: TimeUnit, tz: str | None
    ) -> None:
        self.columns, self.accounting = columns, accounting
        self.where, self.unit, self.tz = where, unit, tz
        self.features = feature_names(columns.features, columns.context)
        self.types = {name: _coded(columns.id_type) for name in (USER, ITEM)}
        self.types |= {name: _coded("string") for name in self.features if is_coded(name, columns.context)}
        self.rows = Spool()
        #: The file being read: its name and its time column.
        self.file = ""
        self.times = TimeColumn("", unit, tz)

    def add(self, piece: Piece) -> None:
        """Convert a piece; rows that do not fit are counted and kept apart."""
        columns = self.columns
        if piece.file != self.file:
            self._end_file()
            self.file = piece.file
            self.times = TimeColumn(f"{piece.file}: column {columns.time!r}", self.unit, self.tz)
        self.accounting.read += piece.n_rows
        self.accounting.add(piece.rejects)
        found: list[tuple[Bad, str]] = []
        made: dict[str, pl.Series] = {}
        for ours, theirs in ((USER, columns.user), (ITEM, columns.item)):
            made[ours], bad = read_ids(
                piece.frame[theirs], f"{piece.file}: column {theirs!r}", columns.id_type
            )
            found += [(one, theirs) for one in bad]
        if columns.time is not None:
            made[TIME], bad = self.times.block(piece.frame[columns.time], piece.file, piece.lines)
            found += [(one, columns.time) for one in bad]
        for ours in self.features:
            theirs = columns.features[ours]
            made[ours], bad = read_feature(piece.frame[theirs], ours, columns.context)
            found += [(one, theirs) for one in bad]
        frame = pl.DataFrame([values.alias(name) for name, values in made.items()])
        frame = frame.filter(self._reject(piece, found)).with_columns(
            pl.col(name).cast(dtype) for name, dtype in self.types.items()
        )
        self.rows.add(frame)

    def _reject(self, piece: Piece, found: list[tuple[Bad, str]]) -> pl.Series:
        """Account for the bad rows, each once, by the first rule it breaks; returns the mask of the others."""
        keep = np.ones(piece.frame.height, dtype=bool)
        for bad, column in found:
            rows = np.flatnonzero(bad.rows.to_numpy() & keep)
            keep[rows] = False
            raw = piece.frame[column]
            kept = rows[: max(self.accounting.room, 1)]
            lines = (int(piece.lines[row]) for row in kept)
            texts = (text_at(raw, int(row)) for row in kept)
            self.accounting.add(
                [
                    Reject(bad.code, piece.file, line, column, text, bad.reason)
                    for line, text in zip(lines, texts, strict=True)
                ]
            )
            self.accounting.add_more(bad.code, len(rows) - len(kept))
        return pl.Series(keep)

    def _end_file(self) -> None:
        """Each file has one unit of time; its rows get microseconds once the whole file was seen."""
        has_times = self.file and self.columns.time is not None
        self.rows.end_file(*(self.times.finish() if has_times else (1, 1)))

    def finish(self) -> pl.LazyFrame:
        """All accepted rows, in input order, times in microseconds.

        Raises:
            DataError: Bad rows that the policy does not allow, a time column of two minds, or no row at all.
        """
        self._end_file()
        self.accounting.settle()
        if not self.rows.height:
            if self.accounting.quarantined:
                raise self.accounting.error(NO_GOOD_ROW)
            raise DataError(self.where, expected="at least one event", found="no row", do="Check the export.")
        frame = self.rows.finish()
        if self.columns.time is None:
            return frame.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).over(USER).alias(TIME))
        return frame


def _coded(kind: IdType) -> pl.DataType:
    # A set of categories of its own, that grows with every piece and is shared by all of them.
    return pl.Int64() if kind == "int" else pl.Categorical(pl.Categories.random())


def text_at(values: pl.Series, row: int) -> str:
    """A value as text; of a date beyond the calendar of Python its number."""
    if values.dtype.is_temporal():
        days = values.to_physical()[row]
        per_day = {"ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}
        unit = per_day[values.dtype.time_unit] if isinstance(values.dtype, pl.Datetime) else 1
        if days is not None and not -719_162 <= days // unit < 2_932_896:
            return str(days)
    value = values[row]
    return "" if value is None else str(value)
