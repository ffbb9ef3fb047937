"""What every view is: a batch of histories in, an augmentation of it out."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from usermodel.batch import JaggedBatch
from usermodel.config import Config


class ViewConfig(Config):
    """Base of views; a view is a value, so its configuration is all of it.

    What is random follows torch's generator, which the loop seeds for each step. A view makes no user out of nothing and
    none disappear: each keeps at least one of its events.
    """

    @property
    def masks(self) -> bool:
        """Whether it hides items, so that the encoder needs a mask token."""
        return False

    @property
    def reads_similar(self) -> bool:
        """Whether it puts in similar items, so that batches must say which: see `usermodel.views.similar`."""
        return False

    def applied(self, batch: JaggedBatch, chosen: Bool[Tensor, " users"]) -> JaggedBatch:
        """The batch with the histories of ``chosen`` users augmented, and all others as they were."""
        raise NotImplementedError

    def __call__(self, batch: JaggedBatch) -> JaggedBatch:
        """Augment everyone."""
        return self.applied(batch, torch.ones(batch.n_users, dtype=torch.bool, device=batch.offsets.device))

    def fits(self, lengths: Int64[Tensor, " users"]) -> Bool[Tensor, " users"]:
        """Users of whom it can make another history; `one_of` draws among the views that fit."""
        return torch.ones_like(lengths, dtype=torch.bool)


def share_of(lengths: Int64[Tensor, " users"], ratio: float) -> Int64[Tensor, " users"]:
    """``ceil(ratio * n)`` in double precision, as `math.ceil` of a Python product."""
    return torch.ceil(lengths.double() * ratio).long()


def piece_starts(
    lengths: Int64[Tensor, " users"], pieces: Int64[Tensor, " users"]
) -> Int64[Tensor, " users"]:
    """Where a piece begins in each history: uniform among all places where it fits."""
    places = lengths - pieces + 1
    drawn = (torch.rand(len(lengths), dtype=torch.float64, device=lengths.device) * places).long()
    # A product that rounds up to the number of places would be one too far.
    return torch.minimum(drawn, places - 1)


def order_within(keys: Float64[Tensor, " events"], batch: JaggedBatch) -> Int64[Tensor, " events"]:
    """Events in order of ``keys`` within each user; users stay where they are."""
    order = torch.argsort(keys, stable=True)
    return order[torch.argsort(batch.user_of_event[order], stable=True)]
