"""EventLog -> SequenceStore."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy import ndarray

from usermodel import manifest
from usermodel.errors import DataError
from usermodel.events.event_log import EventLog
from usermodel.events.filters import k_core
from usermodel.events.readers import read_events
from usermodel.events.vocabulary import Vocabulary
from usermodel.schema import EVENT_TYPE, ITEM, RATING, TIME, USER
from usermodel.store.sequence_store import KIND, SequenceStore


def build_store(
    log: EventLog | Any,
    out: str | Path,
    *,
    min_user_events: int = 1,
    min_item_events: int = 1,
    overwrite: bool = False,
) -> SequenceStore:
    """Turn a log into memory-mapped per-user sequences.

    Args:
        log: An `EventLog`, or whatever `read_events` takes when its columns are named ``user_id item_id timestamp``.
        out: Folder to create.
        min_user_events: k-core: events every user must have after filtering.
        min_item_events: k-core: events every item must have after filtering.
        overwrite: Replace a store that is already there.

    Returns:
        The opened store. The vocabulary and the k-core are fitted on all events, and the manifest says so.

    Raises:
        DataError: Nothing is left.
        OutputExistsError: ``out`` exists.
    """
    # Long work comes next; a refusal after it would be late.
    manifest.refuse_existing(out, KIND, overwrite)
    log = log if isinstance(log, EventLog) else read_events(log)
    rows, users, items, meta = _code(log, min_user_events, min_item_events)
    with manifest.write_directory(out, KIND, overwrite=overwrite) as draft:
        _write_columns(rows, len(users), log.features, draft.path, meta)
        items.save(draft.path / "vocabulary.parquet")
        users.save(draft.path / "users.parquet")
        draft.meta.update(meta)
    return SequenceStore.open(out)


def _code(
    log: EventLog, min_user_events: int, min_item_events: int
) -> tuple[pl.DataFrame, Vocabulary, Vocabulary, dict[str, Any]]:
    """Filter, number users and items, sort; returns the rows, both vocabularies, and the facts of the manifest."""
    events = log.frame.select(USER, ITEM, TIME, *log.features).collect(engine="streaming")
    all_users, all_items = Vocabulary.build(events[USER]), Vocabulary.build(events[ITEM])
    user, item = all_users.encode(events[USER]) - 1, all_items.encode(events[ITEM]) - 1
    keep, rounds = k_core(user, item, min_user_events, min_item_events)
    if not keep.any():
        found = f"none of {len(keep):,} after the {min_user_events}/{min_item_events}-core"
        do = "Lower --min-user-events and --min-item-events."
        if not len(keep):
            found, do = "none", "Check the log and its filters."
        raise DataError(", ".join(log.sources), expected="at least one event", found=found, do=do)
    users, user = _compact(all_users, user[keep])
    items, item = _compact(all_items, item[keep])
    rows = events.select(TIME, *log.features).filter(pl.Series(keep)).with_columns(user=user, item=item)
    # Stable: ties in time stay in input order, because the order of ties decides which event is the test target.
    rows = rows.sort("user", TIME, maintain_order=True)
    core = {"min_user_events": min_user_events, "min_item_events": min_item_events}
    meta: dict[str, Any] = {
        "n_users": len(users),
        "n_items": len(items),
        "n_events": rows.height,
        "user_type": log.user_type,
        "item_type": log.item_type,
        "time_kind": log.time_kind,
        "features": list(log.features),
        "vocabulary_hash": items.hash,
        "users_hash": users.hash,
        "fitted_on": {"vocabulary": "all", "k_core": "all"},
        "k_core": core | {"rounds": [list(one) for one in rounds]},
        "rows": {"read": len(keep), "accepted": rows.height, "filtered_by_k_core": len(keep) - rows.height},
        "sources": [Path(source).name for source in log.sources],
    }
    return rows, users, items, meta


def _compact(vocabulary: Vocabulary, codes: ndarray) -> tuple[Vocabulary, ndarray]:
    """Drop ids that no kept event uses; the order of the others stays."""
    used = np.bincount(codes, minlength=len(vocabulary)) > 0
    new = np.cumsum(used) - 1
    return Vocabulary(vocabulary.ids.filter(pl.Series(used))), new[codes].astype(np.int32)


def _write_columns(
    rows: pl.DataFrame, n_users: int, features: tuple[str, ...], path: Path, meta: dict[str, Any]
) -> None:
    offsets = np.zeros(n_users + 1, dtype=np.int64)
    np.cumsum(np.bincount(rows["user"].to_numpy(), minlength=n_users), out=offsets[1:])
    # np.save writes through the file, not through a memory map: a full disk is then an error, never a SIGBUS.
    np.save(path / "offsets.npy", offsets)
    np.save(path / "items.npy", rows["item"].to_numpy() + np.int32(1))
    np.save(path / "times.npy", rows[TIME].to_numpy())
    for name in features:
        column = rows[name]
        if name == EVENT_TYPE:
            kinds = column.drop_nulls().unique().sort()
            meta[EVENT_TYPE + "s"] = kinds.to_list()
            values = Vocabulary(kinds.alias("id")).encode(column).astype(np.int32)
        elif name == RATING:
            values = column.fill_null(float("nan")).to_numpy()
        else:
            values = column.fill_null(-1).to_numpy()
        np.save(path / f"{name}.npy", values)
