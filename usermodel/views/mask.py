"""Hide some items of each history."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Bool, Int64
from pydantic import Field
from torch import Tensor

from usermodel.batch import JaggedBatch
from usermodel.views.protocol import ViewConfig, order_within, share_of


class Mask(ViewConfig):
    """The encoder reads its mask token in place of ``ceil(ratio n)`` items of n, without replacement; of n - 1 at most.

    Places stay, so events before and after see where something is hidden. A history of one event stays as it is. Sources:
    BERT4Rec (Sun et al. 2019, section 3.6) without its 80/10/10 rule, CL4SRec (section 3.3.2), AdaptSSR.

    Attributes:
        ratio: Share that is hidden; 0.6 in AdaptSSR's views, 0.3 in its warm start.
    """

    ratio: float = Field(default=0.6, gt=0, le=1)

    @property
    def masks(self) -> bool:
        """See `ViewConfig.masks`."""
        return True

    def applied(self, batch: JaggedBatch, chosen: Bool[Tensor, " users"]) -> JaggedBatch:
        """See `ViewConfig.applied`."""
        lengths = batch.lengths
        n = torch.minimum(share_of(lengths, self.ratio), (lengths - 1).clamp(min=0))
        keys = torch.rand(batch.n_events, dtype=torch.float64, device=batch.item_index.device)
        first = batch.position < (n * chosen)[batch.user_of_event]
        hidden = torch.zeros_like(first)
        hidden[order_within(keys, batch)] = first
        return dataclasses.replace(batch, masked=hidden if batch.masked is None else batch.masked | hidden)

    def fits(self, lengths: Int64[Tensor, " users"]) -> Bool[Tensor, " users"]:
        """See `ViewConfig.fits`: of one event nothing is hidden."""
        return lengths > 1
