"""The latest events of each user, as one example."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64
from numpy import ndarray
from pydantic import Field

from usermodel.events.splits import Split
from usermodel.sampling.protocol import Examples, SamplerConfig
from usermodel.store.sequence_store import SequenceStore


class RecentConfig(SamplerConfig):
    """One example a user: the last ``max_history`` events of the training part, or all if there are fewer.

    For objectives that compare whole users, such as AdaptSSR, and that have no targets in time.

    Attributes:
        min_events: Users with fewer training events are left out: two views of one event are the same.
    """

    min_events: int = Field(default=2, ge=1)

    def sample(
        self, store: SequenceStore, split: Split, *, max_history: int, rng: np.random.Generator
    ) -> Examples:
        """Users in the order of the store; ``rng`` is not used."""
        del rng
        users = np.flatnonzero(split.train_stop - split.start >= self.min_events)
        return latest(store, split, users, max_history)


def latest(
    store: SequenceStore,
    split: Split,
    users: Int64[ndarray, " n"],
    max_history: int,
    stop: Int64[ndarray, " n"] | None = None,
) -> Examples:
    """The last ``max_history`` training events of each of some users, who have one at least; users may repeat.

    Args:
        store: Holds the events.
        split: Whose training part is read.
        users: Positions of the users.
        max_history: Events to read.
        stop: Row after the last event that may be read, for each; None means the end of the training part.
    """
    stop = split.train_stop[users] if stop is None else stop
    start = np.maximum(split.start[users], stop - max_history)
    return Examples(users, start, stop, stop, stop, store.times[stop - 1] + 1)


def first_from(
    store: SequenceStore, split: Split, users: Int64[ndarray, " n"], time: Int64[ndarray, " n"]
) -> Int64[ndarray, " n"]:
    """Row of the first training event at or after a time, for each of some users; the end of the training part if there is none."""
    low: ndarray = split.start[users]
    high: ndarray = split.train_stop[users]
    while (low < high).any():
        middle = (low + high) // 2
        # Where the search is over, the row in the middle may be that of somebody else, or none.
        earlier = (low < high) & (store.times[np.minimum(middle, len(store.times) - 1)] < time)
        low, high = np.where(earlier, middle + 1, low), np.where(earlier, high, middle)
    return low
