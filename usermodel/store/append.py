"""New days for an old store: every index stays where it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy import ndarray

from usermodel import manifest
from usermodel.errors import DataError, MismatchError
from usermodel.events.codes import take
from usermodel.events.event_log import EventLog
from usermodel.events.readers import read_events
from usermodel.events.rejects import QUARANTINE, write_quarantine
from usermodel.events.vocabulary import Vocabulary
from usermodel.schema import ITEM, TIME, USER, feature_type
from usermodel.store.coding import Coded, Known, code_events
from usermodel.store.contents import Contents, categories_of, feature_column, log_facts, row_counts
from usermodel.store.order import by_time, by_user
from usermodel.store.sequence_store import KIND, SequenceStore
from usermodel.store.tables import copy_tables

#: Fact in the manifest: content hashes of the stores whose events are all here, but for forgotten users.
GROWN_FROM: Final = "grown_from"
#: The same since somebody was last forgotten: between these stores, histories have only ever become longer.
ADDED_TO: Final = "added_to"
_REBUILD = "Build the store again from all logs."


def append(store: SequenceStore, log: EventLog | Any, out: str | Path | None = None) -> SequenceStore:
    """Add the events of a new log to a store.

    Users, items, event types, sessions and categories of the store keep their numbers, and new ones follow, so the
    vocabularies of the new store extend the old ones. The result is the one of
    ``build_store(old log + new log, vocabulary=store)``, to the byte; the manifest also names the stores that it has grown
    from. Events of one user with equal times stay in the order in which they were added. Rows of side tables stay; an event
    that was in the old log already is counted twice.

    Args:
        store: The store to extend.
        log: New events, with the same columns: an `EventLog`, or whatever `read_events` takes.
        out: Folder of the new store; ``None`` replaces the old one.

    Returns:
        The opened new store.

    Raises:
        DataError: The store has a k-core, which new events may not obey, or knows no times.
        MismatchError: Ids of another type, times of another kind, or other columns than in the store; or the store was
            replaced since it was opened, as an earlier ``append`` in place does.
        OutputExistsError: ``out`` exists.
    """
    target = store.folder if out is None else Path(out)
    require_appendable(store, out)
    store.require_current()
    log = log if isinstance(log, EventLog) else read_events(log)
    _require_alike(store, log)
    events = log.frame.select(USER, ITEM, TIME, *log.features).collect()
    contents = _joined(store, events, Known(store.users, store.vocabulary, store.all_categories()))
    with manifest.write_directory(target, KIND, overwrite=out is None) as draft:
        contents.write(draft.path)
        copy_tables(store, draft.path)
        _write_quarantine(store, log, draft.path / QUARANTINE)
        draft.meta.update(store.meta)
        draft.meta.update(contents.facts())
        added = log_facts(log)
        draft.meta["sources"] = [*store.meta["sources"], *added["sources"]]
        draft.meta["repeated_rows"] = store.meta.get("repeated_rows", 0) + added["repeated_rows"]
        more = row_counts(log, events.height, events.height)
        rows = {**more, **store.meta["rows"]}
        draft.meta["rows"] = {name: store.meta["rows"].get(name, 0) + more.get(name, 0) for name in rows}
        draft.meta[GROWN_FROM] = [*store.meta.get(GROWN_FROM, ()), store.content_hash]
        draft.meta[ADDED_TO] = [*store.meta.get(ADDED_TO, ()), store.content_hash]
        # Whoever replaced the store in the meantime may have forgotten users, who must not come back.
        store.require_current()
    return SequenceStore.open(target)


def require_appendable(store: SequenceStore, out: str | Path | None = None) -> None:
    """What can be refused before a log is read: a k-core, a store without times, an output that exists."""
    if out is not None:
        manifest.refuse_existing(out, KIND, overwrite=False)
    core = store.meta["k_core"]
    sizes = (core["min_user_events"], core["min_item_events"])
    if max(sizes) > 1:
        found = f"one with a {sizes[0]}/{sizes[1]}-core"
        raise DataError(str(store.path), expected="a store without a k-core", found=found, do=_REBUILD)
    if store.time_kind == "order":
        expected = "a store with times, which say where new events belong"
        raise DataError(str(store.path), expected=expected, found="an order-only store", do=_REBUILD)


def _require_alike(store: SequenceStore, log: EventLog) -> None:
    ours = {
        "user ids": store.meta["user_type"],
        "item ids": store.meta["item_type"],
        "times": store.time_kind,
        "further columns": _columns(store),
    }
    theirs = {
        "user ids": log.user_type,
        "item ids": log.item_type,
        "times": log.time_kind,
        "further columns": _columns(log),
    }
    for name, expected in ours.items():
        if theirs[name] != expected:
            do = f"Read the log as the store was read, or: {_REBUILD[0].lower()}{_REBUILD[1:]}"
            raise MismatchError(
                ", ".join(log.sources),
                expected=f"{name} as in {store.path} ({expected})",
                found=theirs[name],
                do=do,
            )


def _columns(of: SequenceStore | EventLog) -> str:
    """Names of the further columns, the declared ones with their kinds."""
    kinds = {name: f"{name} ({kind})" for name, kind in of.context.items()}
    return ", ".join(kinds.get(name, name) for name in of.features) or "none"


def _write_quarantine(store: SequenceStore, log: EventLog, path: Path) -> None:
    """Bad rows of the old logs, then those of the new one."""
    old = store.folder / QUARANTINE
    before = old.read_bytes() if old.is_file() else b""
    if before or log.rejects:
        write_quarantine(log.rejects, path)
        path.write_bytes(before + path.read_bytes())


def _joined(store: SequenceStore, events: pl.DataFrame, known: Known) -> Contents:
    """The rows of the store, then the new ones, by user and time."""
    if events.is_empty():
        raise DataError("the new log", expected="at least one event", found="none", do="Check the log.")
    new, user = code_events(events, (1, 1), known)
    old_user = np.repeat(np.arange(store.n_users, dtype=np.int32), np.diff(store.offsets))
    grouped = by_user(np.concatenate([old_user, user]), len(new.users))
    del old_user, user
    times = by_time(grouped, np.concatenate([store.times, events[TIME].to_numpy()]))
    order, offsets = grouped
    categories = {name: categories_of(events[name], old) for name, old in known.categories.items()}
    features = {name: _feature(store, events, name, categories.get(name), order) for name in store.features}
    items = _items(store, new, order)
    return Contents(new.users, new.items, offsets, items, times, features, categories, store.context)


def _items(store: SequenceStore, new: Coded, order: ndarray) -> ndarray:
    return take(np.concatenate([store.items, new.item + np.int32(1)]), order)


def _feature(
    store: SequenceStore, events: pl.DataFrame, name: str, categories: Vocabulary | None, order: ndarray
) -> Callable[[], ndarray]:
    kind = feature_type(name, store.context)
    return lambda: take(
        np.concatenate([store.feature(name), feature_column(events[name], categories, kind)]), order
    )
