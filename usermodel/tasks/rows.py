"""Rows of a task: each one a prediction about a user and an item at a time, from what the user did strictly before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Int8, Int64
from numpy import ndarray

from usermodel.errors import DataError
from usermodel.events.splits import PARTS, GlobalTimeConfig, Split, SplitConfig
from usermodel.sampling.protocol import Examples
from usermodel.schema import CLICKED, ITEM, TIME, USER, SplitName
from usermodel.store.sequence_store import SequenceStore
from usermodel.store.table_input import ITEM_INDEX, USER_ROW

_OUTSIDE: Final = -1
IMPRESSIONS: Final = "impressions"


@dataclass(frozen=True)
class Rows:
    """Rows by user and time.

    Attributes:
        user: User of each row.
        item: Its item, 1 to n_items.
        time: When the prediction is made.
        part: 0, 1, 2: its part, in the order of `PARTS`.
        stop: Store row at which its history ends: the first of the user's events that is not earlier.
        place: Where the row comes from: the store row of an event, or the row of the impressions table.
        source: ``events``, or ``impressions``.
    """

    user: Int64[ndarray, " n"]
    item: Int64[ndarray, " n"]
    time: Int64[ndarray, " n"]
    part: Int8[ndarray, " n"]
    stop: Int64[ndarray, " n"]
    place: Int64[ndarray, " n"]
    source: str = "events"

    def __len__(self) -> int:
        return len(self.user)

    def of(self, part: SplitName) -> Int64[ndarray, " rows"]:
        """Positions of the rows of a part."""
        return np.flatnonzero(self.part == PARTS.index(part))

    def examples(self, store: SequenceStore, max_history: int, n_items: int | None = None) -> Examples:
        """The history of each row, see `Examples.histories`."""
        return Examples.histories(store, self.user, self.stop, max_history, n_items)


def event_rows(store: SequenceStore, split: Split, known: Bool[ndarray, " events"]) -> Rows:
    """The events of the parts of a split for which ``known`` holds.

    Raises:
        DataError: No such event in the training or the test part.
    """
    user = np.repeat(np.arange(store.n_users), np.diff(store.offsets))
    row, times = np.arange(store.n_events), np.asarray(store.times)
    part = _part_at(split, user, row)
    # Events of one user at one time do not know of each other.
    begins = np.ones(store.n_events, dtype=bool)
    begins[1:] = (times[1:] != times[:-1]) | (user[1:] != user[:-1])
    stop = np.maximum.accumulate(np.where(begins, row, 0))
    kept = np.flatnonzero(known & (part != _OUTSIDE))
    items = store.items[kept].astype(np.int64)
    found = Rows(user[kept], items, times[kept], part[kept], stop[kept], kept)
    return _require_parts(store, split, found)


def impression_rows(store: SequenceStore, split: SplitConfig | Split) -> tuple[Rows, Bool[ndarray, " rows"]]:
    """Items that were shown, with whether they were clicked.

    Where the split cuts at moments, so do the parts of the rows. Otherwise a row is in the part of the user's next event, that is
    of the first one that is not earlier; rows after all events of a user are in none.

    Raises:
        DataError: The store has no impressions, or the training or test part has none.
    """
    table = store.table(IMPRESSIONS)
    user, item = (table[name].to_numpy().astype(np.int64) for name in (USER_ROW, ITEM_INDEX))
    time = table[TIME].to_numpy()
    stop = _earlier(store, user, time)
    cut = split if isinstance(split, Split) else store.split(split)
    if isinstance(split, GlobalTimeConfig):
        moments = split.moments(np.asarray(store.times))
        part = np.searchsorted(moments, time, side="right").astype(np.int8)
    else:
        part = _part_at(cut, user, stop)
    kept = np.flatnonzero(part != _OUTSIDE)
    found = Rows(user[kept], item[kept], time[kept], part[kept], stop[kept], kept, IMPRESSIONS)
    return _require_parts(store, cut, found), table[CLICKED].to_numpy()[kept].astype(bool)


def impression_columns(store: SequenceStore) -> list[str]:
    """What an impressions table knows beside what every one has."""
    if IMPRESSIONS not in store.meta.get("tables", {}):
        return []
    ours = {USER, ITEM, USER_ROW, ITEM_INDEX, TIME, CLICKED}
    return [name for name in store.table(IMPRESSIONS).columns if name not in ours]


def _part_at(split: Split, user: Int64[ndarray, " n"], row: Int64[ndarray, " n"]) -> Int8[ndarray, " n"]:
    part = np.full(len(row), _OUTSIDE, dtype=np.int8)
    for number, name in enumerate(PARTS):
        first, stop = split.part(name)
        part[(row >= first[user]) & (row < stop[user])] = number
    return part


def _earlier(
    store: SequenceStore, user: Int64[ndarray, " n"], time: Int64[ndarray, " n"]
) -> Int64[ndarray, " n"]:
    """For each row the first event of its user that is not earlier, by binary search in all rows at once."""
    times = np.append(np.asarray(store.times), 0)
    low: ndarray = store.offsets[user]
    high: ndarray = store.offsets[user + 1]
    while (open_ := low < high).any():
        middle = (low + high) // 2
        earlier = open_ & (times[middle] < time)
        low, high = np.where(earlier, middle + 1, low), np.where(open_ & ~earlier, middle, high)
    return low


def _require_parts(store: SequenceStore, split: Split, found: Rows) -> Rows:
    for name in ("train", "test"):
        if not len(found.of(name)):
            what = "impressions" if found.source == IMPRESSIONS else "events"
            do = "Use another split, or a log that has them."
            expected = f"{what} to {name} on"
            raise DataError(f"{store.path}, {split.name}", expected=expected, found="none", do=do)
    return found
