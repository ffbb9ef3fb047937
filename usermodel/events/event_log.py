"""EventLog: a validated, immutable handle on a behaviour log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import polars as pl
import polars.selectors as cs

from usermodel import manifest, schema
from usermodel.errors import DataError, IntegrityError
from usermodel.events.parquet import write_parquet
from usermodel.events.rejects import Reject
from usermodel.schema import ITEM, TIME, USER, ContextKind, IdType, TimeKind

KIND: Final = "event-log"
SHARD_EVENTS: Final = 8_000_000


class Columnwise:
    """Columns of a log that may be larger than memory; a column is in memory for as long as the caller holds it."""

    def __init__(self, frame: pl.LazyFrame) -> None:
        self._frame = frame

    def __getitem__(self, name: str) -> pl.Series:
        return self._frame.select(name).collect().to_series()

    @property
    def height(self) -> int:
        """Number of rows."""
        return int(self._frame.select(pl.len()).collect().item())


@dataclass(frozen=True)
class EventLog:
    """Events in the EVENTS schema: straight from a reader (rows in input order) or from a folder on disk (sorted).

    Attributes:
        frame: Rows as they came, text ids coded as categories; `scan` is the sorted view, with ids as text, that the
            EVENTS invariants speak of.
        sources: What was read, for messages and manifests.
        user_type: ``"string"`` or ``"int"``: the type of ``user_id``.
        item_type: The same for ``item_id``.
        time_kind: ``"utc"`` (int64 microseconds) or ``"order"`` (position in the user's history).
        is_sorted: Whether ``frame`` already obeys the invariants.
        accounting: What became of every row that was read, see `rejects.Accounting.facts`.
        rejects: Bad rows that were set aside.
        by_column: Whether ``frame`` gives the same rows however often and by whatever columns it is collected, so that a
            log larger than memory can be read column by column.
        context: Kinds of the columns that were declared, by name.
    """

    frame: pl.LazyFrame
    sources: tuple[str, ...]
    user_type: IdType = "string"
    item_type: IdType = "string"
    time_kind: TimeKind = "utc"
    is_sorted: bool = False
    accounting: dict[str, int] = field(default_factory=dict)
    rejects: tuple[Reject, ...] = ()
    by_column: bool = False
    context: Mapping[str, ContextKind] = field(default_factory=dict)

    def __post_init__(self) -> None:
        schema.require_context(self.context)

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the columns beside user, item and time: those of the schema in its order, then the context by name."""
        return schema.feature_names(self.frame.collect_schema().names(), self.context)

    def scan(self) -> pl.LazyFrame:
        """Rows sorted by (user, time), ties in input order."""
        frame = self.frame.with_columns(cs.categorical().cast(pl.String))
        return frame if self.is_sorted else frame.sort(USER, TIME, maintain_order=True)

    def n_events(self) -> int:
        """Number of rows; reads the log when it is lazy."""
        return int(self.frame.select(pl.len()).collect(engine="streaming").item())

    def with_frame(self, frame: pl.LazyFrame) -> EventLog:
        """The same log with other rows (a filter keeps order, so it keeps ``is_sorted``)."""
        # A plan of the caller's may be dear, or draw rows at random: it is collected once.
        return replace(self, frame=frame, by_column=False)

    def rows(self) -> pl.DataFrame | Columnwise:
        """Rows in input order, to be taken a column at a time."""
        frame = self.frame.select(USER, ITEM, TIME, *self.features)
        return Columnwise(frame) if self.by_column else frame.collect()

    def write(self, path: str | Path, *, overwrite: bool = False) -> EventLog:
        """Write Parquet shards and a manifest; a user lives in one shard.

        Args:
            path: Folder to create.
            overwrite: Replace an event log that is already there.

        Returns:
            The log on disk.
        """
        manifest.refuse_existing(path, KIND, overwrite)
        columns = [USER, ITEM, TIME, *self.features]
        rows = self.scan().select(columns).collect(engine="streaming")
        if rows.is_empty():
            raise DataError(
                ", ".join(self.sources), expected="at least one event", found="none", do="Check the input."
            )
        arrow = schema.events_schema(self.user_type, self.item_type, self.features, self.context)
        with manifest.write_directory(path, KIND, overwrite=overwrite) as draft:
            draft.meta.update(
                n_events=rows.height,
                n_users=rows[USER].n_unique(),
                n_items=rows[ITEM].n_unique(),
                user_type=self.user_type,
                item_type=self.item_type,
                time_kind=self.time_kind,
                # Names without folders: the same input gives the same bytes wherever it lies.
                sources=[Path(source).name for source in self.sources],
            )
            declared = {name: kind for name, kind in self.context.items() if name in self.features}
            if declared:
                draft.meta["context"] = declared
            for number, shard in enumerate(_shards(rows)):
                write_parquet(shard.to_arrow().cast(arrow), draft.path / f"events-{number:05d}.parquet")
        return _open(path, verify=False)

    @staticmethod
    def open(path: str | Path) -> EventLog:
        """Open a log written by `write`; its hashes are checked, because a scan of the shards checks none.

        Raises:
            MissingError: No event log there.
            IntegrityError: A damaged one.
        """
        return _open(path, verify=True)


def _open(path: str | Path, *, verify: bool) -> EventLog:
    found = manifest.read(path, KIND, verify=verify)
    shards = [Path(path).absolute() / name for name in sorted(found.files)]
    facts = found.meta
    try:
        return EventLog(
            pl.scan_parquet(shards, glob=False),
            sources=(str(path),),
            user_type=facts["user_type"],
            item_type=facts["item_type"],
            time_kind=facts["time_kind"],
            is_sorted=True,
            by_column=True,
            context=dict(facts.get("context", {})),
        )
    except (KeyError, TypeError, ValueError, pl.exceptions.PolarsError) as error:
        do = "Write the log again."
        raise IntegrityError(str(path), expected="an event log", found=f"{error!r:.80}", do=do) from None


def _shards(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Cut sorted rows near every `SHARD_EVENTS`, at a border between two users."""
    borders = (rows[USER] != rows[USER].shift(1)).fill_null(value=True).arg_true().to_numpy()
    start = 0
    while start < rows.height:
        later = borders[borders >= start + SHARD_EVENTS]
        stop = int(later[0]) if len(later) else rows.height
        yield rows[start:stop]
        start = stop
