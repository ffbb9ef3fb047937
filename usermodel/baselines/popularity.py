"""Popularity: every user gets the items most people took."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor

from usermodel.events.splits import FittedOn, Split
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore


@dataclass(frozen=True)
class Popularity:
    """Counts of the training part, the same for everyone.

    Attributes:
        counts: Events of each item.
        fitted_on: The split whose training part was counted; a task refuses to score on another one.
    """

    counts: Float[Tensor, " items"]
    fitted_on: FittedOn | None = None

    @staticmethod
    def fit(store: SequenceStore, split: Split, labels: Examples) -> Popularity:
        """Count each item's training events; ``labels`` change nothing."""
        del labels
        counts = torch.from_numpy(store.item_counts(split.train_stop)[1:]).float()
        return Popularity(counts, split.fitted_on)

    @property
    def n_items(self) -> int:
        """Items that can be scored."""
        return len(self.counts)

    def scores(self, users: Int64[ndarray, " batch"]) -> Float[Tensor, "batch items"]:
        """See `usermodel.embedding_table.Scorer`."""
        return self.counts.expand(len(users), -1).contiguous()
