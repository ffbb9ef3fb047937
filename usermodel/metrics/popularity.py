"""How popular items are, counted on the training part of a split only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from usermodel.events.splits import Split
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore

#: Events of histories looked at at once: 4 M indices are 32 MB.
_EVENTS: Final = 1 << 22


@dataclass(frozen=True)
class ItemPopularity:
    """Counts of a training part.

    Attributes:
        events: Training events of each item; entry 0 is item 1.
        users: Users with a training event of the item.
        n_users: Users with a training event.
    """

    events: Float64[ndarray, " items"]
    users: Float64[ndarray, " items"]
    n_users: int

    @staticmethod
    def fit(store: SequenceStore, split: Split, *, without_first: bool = False) -> ItemPopularity:
        """Count the training part.

        Args:
            store: Holds the events.
            split: Its training part is counted.
            without_first: Leave the first training event of each user out of ``events``.
        """
        events = store.item_counts(split.train_stop)
        if without_first:
            events = events - store.item_counts(np.minimum(split.start + 1, split.train_stop))
        users = np.zeros(store.n_items)
        for row, rows in _blocks(split.start, split.train_stop):
            pairs = np.unique(row * np.int64(store.n_items) + store.items[rows] - 1)
            users += np.bincount(pairs % store.n_items, minlength=store.n_items)
        return ItemPopularity(
            events[1:].astype(np.float64), users, int((split.train_stop > split.start).sum())
        )

    def self_information(self) -> Float64[ndarray, " items"]:
        """``-log2`` of the share of users who took the item, in bits; an item that nobody took counts as one user's."""
        return np.asarray(-np.log2(np.maximum(self.users, 1) / max(self.n_users, 1)))


def mean_over_history(
    store: SequenceStore, examples: Examples, values: Float64[ndarray, " items"]
) -> Float64[ndarray, " n"]:
    """Mean of a value of items over the events of each user's whole history before the target; 0 without any."""
    starts = store.offsets[examples.user]
    total = np.zeros(len(examples))
    for row, rows in _blocks(starts, examples.target_start):
        total += np.bincount(row, values[store.items[rows] - 1], minlength=len(examples))
    return np.asarray(total / np.maximum(examples.target_start - starts, 1))


def repeats(store: SequenceStore, examples: Examples) -> ndarray:
    """Whether each user's target is in the whole history before it, ``bool[n]``."""
    targets = store.items[examples.target_start]
    found = np.zeros(len(examples), dtype=bool)
    for row, rows in _blocks(store.offsets[examples.user], examples.target_start):
        found[row[store.items[rows] == targets[row]]] = True
    return found


def _blocks(
    starts: Int64[ndarray, " n"], stops: Int64[ndarray, " n"]
) -> Iterator[tuple[Int64[ndarray, " events"], Int64[ndarray, " events"]]]:
    """Store rows of many ranges, some ranges at a time: the number of the range and the store row of each event."""
    ends = np.cumsum(stops - starts)
    first = 0
    while first < len(starts):
        before = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + _EVENTS, side="right")))
        lengths = stops[first:last] - starts[first:last]
        row = np.repeat(np.arange(first, last), lengths)
        yield (
            row,
            np.arange(lengths.sum())
            + np.repeat(starts[first:last] - (ends[first:last] - lengths - before), lengths),
        )
        first = last
