"""Recent popularity: events count less the older they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor

from usermodel.errors import ConfigError
from usermodel.events.splits import FittedOn, Split
from usermodel.sampling.protocol import Examples
from usermodel.schema import DAY
from usermodel.store.sequence_store import SequenceStore
from usermodel.store.training_events import in_training


@dataclass(frozen=True)
class RecentPopularity:
    """Sum over the training events of an item of ``2^(-age / half_life)``, the same for everyone.

    The age of an event is how long before the last training event of all it was; in a store without times, by how many events
    it is before the user's own last one.

    Attributes:
        counts: Weighted events of each item.
        fitted_on: The split whose training part was counted; a task refuses to score on another one.
    """

    counts: Float[Tensor, " items"]
    fitted_on: FittedOn | None = None

    @staticmethod
    def fit(
        store: SequenceStore, split: Split, labels: Examples, *, half_life: float | None = None
    ) -> RecentPopularity:
        """Weigh each item's training events; ``labels`` change nothing.

        Args:
            store: Holds the events.
            split: Its training part is what is counted.
            labels: Not looked at.
            half_life: In days, or in events in a store without times; None means 30 days or 5 events.

        Raises:
            ConfigError: A half-life that is not positive.
        """
        del labels
        utc = store.time_kind == "utc"
        half_life = (30.0 if utc else 5.0) if half_life is None else half_life
        if not half_life > 0:
            do = "Choose some days or events."
            raise ConfigError("half_life", expected="a positive number", found=f"{half_life}", do=do)
        kept = np.flatnonzero(in_training(store, split))
        if utc:
            times = store.times[kept]
            age = (times.max(initial=0) - times) / DAY
        else:
            end = np.repeat(split.train_stop, np.diff(store.offsets))
            age = (end[kept] - 1 - kept).astype(np.float64)
        weight = np.exp2(-age / half_life)
        counts = np.bincount(store.items[kept], weights=weight, minlength=store.n_items + 1)[1:]
        return RecentPopularity(torch.from_numpy(counts).float(), split.fitted_on)

    @property
    def n_items(self) -> int:
        """Items that can be scored."""
        return len(self.counts)

    def scores(self, users: Int64[ndarray, " batch"]) -> Float[Tensor, "batch items"]:
        """See `usermodel.embedding_table.Scorer`."""
        return self.counts.expand(len(users), -1).contiguous()
