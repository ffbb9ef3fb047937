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


def latest(store: SequenceStore, split: Split, users: Int64[ndarray, " n"], max_history: int) -> Examples:
    """The last ``max_history`` training events of each of some users, who have one at least; users may repeat."""
    stop = split.train_stop[users]
    start = np.maximum(split.start[users], stop - max_history)
    return Examples(users, start, stop, stop, stop, store.times[stop - 1] + 1)
