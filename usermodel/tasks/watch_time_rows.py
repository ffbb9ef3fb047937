"""Rows of watch times: events; or events to learn from and labels to be tested on, as sets with a test of their own have it."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
from jaxtyping import Float64
from numpy import ndarray

from usermodel.errors import DataError
from usermodel.events.splits import PARTS, Split
from usermodel.schema import DURATION, PREDICTION_TIME, WATCH_TIME
from usermodel.store.sequence_store import SequenceStore
from usermodel.store.table_input import ITEM_INDEX, USER_ROW
from usermodel.tasks.rows import LABELS, Rows, event_rows, history_ends

_MS: Final = 1000.0


def watched_events(store: SequenceStore, split: Split, *, known_duration: bool) -> Rows:
    """The events of a split whose watch time is known, and with ``known_duration`` the duration, too.

    Raises:
        DataError: The store has no watch times, or a part has none.
    """
    known = np.asarray(store.feature(WATCH_TIME)) >= 0
    if known_duration:
        known &= np.asarray(store.feature(DURATION)) > 0
    return event_rows(store, split, known)


def tested_on_labels(store: SequenceStore, events: Rows, *, known_duration: bool) -> Rows:
    """Events of the training and validation parts, and in place of the test part the labels about an item with a ``watch_time_ms``.

    Raises:
        DataError: The store has no such labels.
    """
    labels = store.table(LABELS)
    for name in (ITEM_INDEX, WATCH_TIME):
        if name not in labels.columns:
            wanted = "item_id" if name == ITEM_INDEX else name
            do = "Ingest labels that have one, or test on the split."
            raise DataError(f"{store.path}, {LABELS}", expected=f"a column {wanted!r}", found="none", do=do)
    for name in (WATCH_TIME, DURATION):
        if name in labels.columns and not labels[name].dtype.is_numeric():
            found, do = f"values of type {labels[name].dtype}", "Ingest labels with numbers there."
            raise DataError(f"{store.path}, {LABELS}: {name}", expected="numbers", found=found, do=do)
    known = (labels[WATCH_TIME] >= 0) & labels[ITEM_INDEX].is_not_null()
    if known_duration:
        has = DURATION in labels.columns
        known &= labels[DURATION] > 0 if has else pl.Series([False] * labels.height, dtype=pl.Boolean)
    labels = labels.filter(known.fill_null(value=False))
    if not labels.height:
        do = "Ingest labels with watch times, or test on the split."
        raise DataError(f"{store.path}, {LABELS}", expected="watch times of items", found="none", do=do)
    kept = events.part != PARTS.index("test")
    place = events.place[kept]
    columns = [name for name in (WATCH_TIME, DURATION) if name in store.features]
    of_events = pl.DataFrame({name: np.asarray(store.feature(name))[place] for name in columns})
    both = pl.concat(
        [of_events, labels.select(name for name in (WATCH_TIME, DURATION) if name in labels.columns)],
        how="diagonal_relaxed",
    )
    user, item = (labels[name].to_numpy().astype(np.int64) for name in (USER_ROW, ITEM_INDEX))
    time = labels[PREDICTION_TIME].to_numpy()
    return Rows(
        np.append(events.user[kept], user),
        np.append(events.item[kept], item),
        np.append(events.time[kept], time),
        np.append(events.part[kept], np.full(len(user), PARTS.index("test"), dtype=np.int8)),
        np.append(events.stop[kept], history_ends(store, user, time)),
        np.arange(both.height),
        both,
    )


def watched_seconds(store: SequenceStore, rows: Rows) -> Float64[ndarray, " rows"]:
    """The watch time of each row."""
    if rows.table is not None:
        found: ndarray = rows.table[WATCH_TIME].cast(pl.Float64).to_numpy()[rows.place] / _MS
        return found
    of_events: ndarray = np.asarray(store.feature(WATCH_TIME))[rows.place] / _MS
    return of_events
