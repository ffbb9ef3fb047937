"""What a store holds, on its way to disk: shared by build, append and forget."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from jaxtyping import Int, Int32, Int64
from numpy import ndarray

from usermodel.events.codes import take
from usermodel.events.event_log import Columnwise, EventLog
from usermodel.events.vocabulary import Vocabulary
from usermodel.schema import EVENT_TYPE, ContextKind, feature_type, is_coded
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
        categories: What is behind the codes of each column of codes.
        context: Kinds of the columns that were declared.
    """

    users: Vocabulary
    items: Vocabulary
    offsets: Int64[ndarray, " users+1"]
    item_index: Int32[ndarray, " events"]
    times: Int64[ndarray, " events"]
    features: Mapping[str, Callable[[], ndarray]] = field(default_factory=dict)
    categories: Mapping[str, Vocabulary] = field(default_factory=dict)
    context: Mapping[str, ContextKind] = field(default_factory=dict)

    def write(self, folder: Path, steps: Steps | None = None) -> None:
        """Write every column and every vocabulary into an empty folder; event types are few and go into the manifest.

        ``steps`` is told of each.
        """
        begin = (steps or Steps()).begin
        # np.save writes through the file, not through a memory map: a full disk is then an error, never a SIGBUS.
        fixed = {"offsets": self.offsets, "items": self.item_index, "times": self.times}
        for name, values in fixed.items():
            begin(column(name))
            np.save(folder / f"{name}.npy", values)
        for name, make in self.features.items():
            begin(column(name))
            np.save(folder / f"{name}.npy", make())
            if is_coded(name, self.context):
                self.categories[name].save(folder / f"{name}.parquet")
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
        if EVENT_TYPE in self.features:
            facts[EVENT_TYPE + "s"] = self.categories[EVENT_TYPE].ids.to_list()
        if self.context:
            facts["context"] = dict(self.context)
        coded = {name: self.categories[name] for name in self.features if is_coded(name, self.context)}
        if coded:
            facts["categories"] = {name: {"n": len(one), "hash": one.hash} for name, one in coded.items()}
        return facts


def categories_of(column: pl.Series, known: Vocabulary | None) -> Vocabulary:
    """Values in the order of their codes 1, 2, ...: the known ones, then new ones sorted."""
    values = column.drop_nulls()
    return Vocabulary.build(values) if known is None else known.extend(values)


def feature_column(column: pl.Series, categories: Vocabulary | None, kind: pa.DataType) -> ndarray:
    """Values as they are stored: codes, where there are categories; and 0, -1 or NaN for what is unknown."""
    if categories is not None:
        return categories.encode(column)
    if kind == pa.float32():
        return column.cast(pl.Float32).fill_null(float("nan")).to_numpy()
    return column.cast(pl.Int64).fill_null(-1).to_numpy()


def feature_columns(
    log: EventLog,
    events: pl.DataFrame | Columnwise,
    categories: Mapping[str, Vocabulary],
    rows: Int[ndarray, " events"],
) -> dict[str, Callable[[], ndarray]]:
    """Further columns of a log, to be made one after the other: ``rows`` of it, in that order."""

    def column(name: str) -> ndarray:
        kind = feature_type(name, log.context)
        return take(feature_column(events[name], categories.get(name), kind), rows)

    return {name: partial(column, name) for name in log.features}


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
