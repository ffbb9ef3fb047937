"""Put similar items before some."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Bool
from pydantic import Field
from torch import Tensor

from usermodel.batch import JaggedBatch
from usermodel.views.protocol import ViewConfig
from usermodel.views.similar import picked, similar_items


class Insert(ViewConfig):
    """The most similar item is put before each of ``max(1, floor(ratio n))`` items of n.

    Source: CoSeRec (Liu et al. 2021, arXiv:2108.06479), with the counts of the released code, and the new item before the
    old one as there. Before an item that is similar to none nothing is put. What is put in has the time and the other
    columns of the event behind it. A history grows, perhaps beyond what the encoder reads: whoever calls cuts it.

    Attributes:
        ratio: New items as a share of the old ones; 0.4 in the released code.
    """

    ratio: float = Field(default=0.4, gt=0, le=1)

    @property
    def reads_similar(self) -> bool:
        """See `ViewConfig.reads_similar`."""
        return True

    def applied(self, batch: JaggedBatch, chosen: Bool[Tensor, " users"]) -> JaggedBatch:
        """See `ViewConfig.applied`."""
        before = picked(batch, self.ratio, chosen)
        number = before.cumsum(0)
        rows = torch.arange(batch.n_events, device=before.device)
        ends = torch.cat([number.new_zeros(1), number])
        out = batch.rows(
            torch.repeat_interleave(rows, 1 + before.long()), batch.offsets + ends[batch.offsets]
        )
        items = out.item_index.clone()
        # Of the two copies of a row, the first.
        items[(rows + number - 1)[before]] = similar_items(batch)[before]
        return dataclasses.replace(out, item_index=items)
