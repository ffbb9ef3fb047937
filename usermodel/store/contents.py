"""What a store holds, on its way to disk: shared by build, append and forget."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Int, Int32, Int64
from numpy import ndarray

from usermodel.events.codes import take
from usermodel.events.event_log import Columnwise, EventLog
from usermodel.events.vocabulary import Vocabulary
from usermodel.schema import EVENT_TYPE, RATING
from usermodel.store.steps import Steps, column


@dataclass(frozen=True)
class Contents:
    """Columns and ids of one store.

    Attributes:
        users: User ids; user ``u`` has index ``u + 1``.
        items: Item ids.
        offsets: First event of each user, and the number of events at the end.
        item_index: Item index of each event, 1 to n_items.
        times: Time of each event.
        features: Further columns by name; each is made when it is written, and then forgotten.
        event_types: Names behind the codes of ``event_type``.
    """

    users: Vocabulary
    items: Vocabulary
    offsets: Int64[ndarray, " users+1"]
    item_index: Int32[ndarray, " events"]
    times: Int64[ndarray, " events"]
    features: Mapping[str, Callable[[], ndarray]] = field(default_factory=dict)
    event_types: tuple[str, ...] = ()

    def write(self, folder: Path, steps: Steps | None = None) -> None:
        """Write every column and both vocabularies into an empty folder; ``steps`` is told of each."""
        begin = (steps or Steps()).begin
        # np.save writes through the file, not through a memory map: a full disk is then an error, never a SIGBUS.
        fixed = {"offsets": self.offsets, "items": self.item_index, "times": self.times}
        for name, values in fixed.items():
            begin(column(name))
            np.save(folder / f"{name}.npy", values)
        for name, make in self.features.items():
            begin(column(name))
            np.save(folder / f"{name}.npy", make())
        for name, vocabulary in (("vocabulary", self.items), ("users", self.users)):
            begin(column(name))
            vocabulary.save(folder / f"{name}.parquet")

    def facts(self) -> dict[str, Any]:
        """What the manifest says about these columns."""
        facts: dict[str, Any] = {
            "n_users": len(self.users),
            "n_items": len(self.items),
            "n_events": len(self.times),
            "features": list(self.features),
            "vocabulary_hash": self.items.hash,
            "users_hash": self.users.hash,
        }
        return facts | ({EVENT_TYPE + "s": list(self.event_types)} if EVENT_TYPE in self.features else {})


def event_types_of(column: pl.Series, known: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Names of the event types in the order of their codes 1, 2, ...: the known ones, then new ones sorted."""
    old = Vocabulary(pl.Series("id", known, dtype=pl.String))
    return tuple(old.extend(Vocabulary.build(column.drop_nulls()).ids).ids)


def feature_column(column: pl.Series, event_types: tuple[str, ...]) -> ndarray:
    """Values as they are stored: codes of event types, and -1 or NaN for what is unknown."""
    if column.name == EVENT_TYPE:
        return Vocabulary(pl.Series("id", event_types, dtype=pl.String)).encode(column)
    return column.fill_null(float("nan") if column.name == RATING else -1).to_numpy()


def feature_columns(
    events: pl.DataFrame | Columnwise,
    names: tuple[str, ...],
    event_types: tuple[str, ...],
    rows: Int[ndarray, " events"],
) -> dict[str, Callable[[], ndarray]]:
    """Further columns of a log, to be made one after the other: ``rows`` of it, in that order."""
    return {name: lambda name=name: take(feature_column(events[name], event_types), rows) for name in names}  # type: ignore[misc]


def row_counts(log: EventLog, n_rows: int, n_events: int) -> dict[str, int]:
    """Where every row that was read has gone: read is the sum of the others.

    Args:
        log: The log; its reader says how many rows it left out, and why.
        n_rows: Rows of the log.
        n_events: Rows that the k-core kept.
    """
    counted: Mapping[str, int] = getattr(log, "accounting", None) or {}
    dropped = {name: int(counted.get(name, 0)) for name in ("duplicates", "quarantined")}
    # A frame that the caller has filtered (EventLog.with_frame) is shorter than what the reader accepted.
    gone = max(int(counted.get("accepted", n_rows)) - n_rows, 0)
    rows = {"accepted": n_events, **dropped, "filtered_by_k_core": n_rows - n_events}
    if gone:
        rows["filtered_by_caller"] = gone
    return {"read": sum(rows.values()), **rows}


def log_facts(log: EventLog) -> dict[str, Any]:
    """What the manifest says about the log."""
    return {
        "user_type": log.user_type,
        "item_type": log.item_type,
        "time_kind": log.time_kind,
        # Names without folders: the same input gives the same bytes wherever it lies.
        "sources": [Path(source).name for source in log.sources],
        # Exact duplicates that were kept.
        "repeated_rows": int((getattr(log, "accounting", None) or {}).get("repeated", 0)),
    }
