"""What a reading would do, from the first rows of the first file: nothing is written, nothing is guessed in silence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import polars as pl

from usermodel.errors import DataError
from usermodel.events.mapping import Mapper
from usermodel.events.readers import files_of, open_pieces
from usermodel.events.reading import reading_of
from usermodel.events.rejects import Accounting
from usermodel.schema import TIME, USER

_ROWS = 10_000


@dataclass(frozen=True)
class Preview:
    """The plan of a reading.

    Attributes:
        files: Name, format and size in bytes of each file, in reading order.
        columns: Our name -> theirs.
        context: Our name -> kind, for the columns that were declared.
        time: The unit of time, and why it was taken for that.
        rows: The first rows after mapping, ids as text, with the time in UTC beside its microseconds.
        bad: Bad rows among the first ones.
        read: Rows looked at.
    """

    files: list[tuple[str, str, int]]
    columns: dict[str, str]
    time: str
    rows: pl.DataFrame
    bad: int
    read: int
    context: dict[str, str] = field(default_factory=dict)


class _Lenient(Accounting):
    """A preview shows what it can, however many rows are bad."""

    def settle(self) -> None:
        """Allow all."""


def preview(source: Any, *, n: int = 5, **options: Any) -> Preview:
    """Read the beginning of the first file as `read_events` would.

    Args:
        source: A path, a folder, a glob, a URL, or a list of these.
        n: Rows to show.
        **options: As for `read_events`.

    Raises:
        MissingError: No such file.
        StorageError: An object store that does not answer.
        DataError: What `read_events` would refuse, as far as the first rows show it.
    """
    reading = reading_of(options)
    files, columns = files_of(source, reading)
    file, form = files[0]
    piece = next(open_pieces(file, form, reading, columns), None)
    if piece is None:
        raise DataError(file.name, expected="at least one event", found="no row", do="Check the export.")
    head = piece.filter(pl.Series(range(piece.frame.height)) < _ROWS)
    accounting = _Lenient("drop")
    mapper = Mapper(columns, file.name, accounting, reading.time_unit, reading.tz)
    mapper.add(head)
    why = (
        mapper.times.why()
        if columns.time is not None
        else "none: the order of the rows is the order of the events"
    )
    rows = mapper.finish().head(n).collect()
    if columns.time is not None and reading.time_unit != "order":
        rows = rows.with_columns(pl.from_epoch(TIME, time_unit="us").alias("utc"))
    names = {USER: columns.user, "item_id": columns.item, TIME: columns.time or "(order)", **columns.features}
    sizes = [(one.name, str(kind), one.size) for one, kind in files]
    return Preview(sizes, names, why, rows, accounting.quarantined, accounting.read, {**columns.context})
