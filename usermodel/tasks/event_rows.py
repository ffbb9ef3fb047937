"""Events as rows of a task: each one a prediction at its time, from what the user did strictly before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Int8, Int64
from numpy import ndarray

from usermodel.errors import DataError
from usermodel.events.splits import PARTS, Split
from usermodel.sampling.protocol import Examples
from usermodel.schema import SplitName
from usermodel.store.sequence_store import SequenceStore

_OUTSIDE: Final = -1


@dataclass(frozen=True)
class EventRows:
    """Some events of a store, in store order.

    Attributes:
        row: Store row of each.
        user: Its user.
        part: 0, 1, 2: its part, in the order of `PARTS`.
        stop: Store row at which its history ends: the first of the user's events at the same time.
    """

    row: Int64[ndarray, " n"]
    user: Int64[ndarray, " n"]
    part: Int8[ndarray, " n"]
    stop: Int64[ndarray, " n"]

    def __len__(self) -> int:
        return len(self.row)

    def of(self, part: SplitName) -> Int64[ndarray, " rows"]:
        """Positions of the rows of a part."""
        return np.flatnonzero(self.part == PARTS.index(part))

    def examples(self, store: SequenceStore, max_history: int, n_items: int | None = None) -> Examples:
        """The history of each row, see `Examples.histories`; the target is the first event at its time."""
        return Examples.histories(store, self.user, self.stop, max_history, n_items)


def event_rows(store: SequenceStore, split: Split, known: ndarray) -> EventRows:
    """The events of the parts of a split for which ``known``, a flag for each event, holds.

    Raises:
        DataError: No such event in the training or the test part.
    """
    user = np.repeat(np.arange(store.n_users), np.diff(store.offsets))
    row = np.arange(store.n_events)
    part = np.full(store.n_events, _OUTSIDE, dtype=np.int8)
    for number, name in enumerate(PARTS):
        first, stop = split.part(name)
        part[(row >= first[user]) & (row < stop[user])] = number
    # Events of one user at one time do not know of each other.
    times = np.asarray(store.times)
    begins = np.ones(store.n_events, dtype=bool)
    begins[1:] = (times[1:] != times[:-1]) | (user[1:] != user[:-1])
    stop = np.maximum.accumulate(np.where(begins, row, 0))
    kept = np.flatnonzero(known & (part != _OUTSIDE))
    found = EventRows(kept, user[kept], part[kept], stop[kept])
    for name in ("train", "test"):
        if not len(found.of(name)):
            expected, do = f"events to {name} on", "Use another split, or a log with the column."
            raise DataError(f"{store.path}, {split.name}", expected=expected, found="none", do=do)
    return found
