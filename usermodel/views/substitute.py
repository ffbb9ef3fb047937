"""Put similar items in the place of some."""

from __future__ import annotations

import dataclasses

from jaxtyping import Bool
from pydantic import Field
from torch import Tensor, where

from usermodel.batch import JaggedBatch
from usermodel.views.protocol import ViewConfig
from usermodel.views.similar import picked, similar_items


class Substitute(ViewConfig):
    """``max(1, floor(ratio n))`` items of n each give way to the one that is most similar to it.

    Source: CoSeRec (Liu et al. 2021, arXiv:2108.06479), with the counts of the released code. An item that is similar to
    none stays, where the released code puts in any item. All else of an event stays with it.

    Attributes:
        ratio: Share that is replaced; 0.1 in the released code.
    """

    ratio: float = Field(default=0.1, gt=0, le=1)

    @property
    def reads_similar(self) -> bool:
        """See `ViewConfig.reads_similar`."""
        return True

    def applied(self, batch: JaggedBatch, chosen: Bool[Tensor, " users"]) -> JaggedBatch:
        """See `ViewConfig.applied`."""
        changed = where(picked(batch, self.ratio, chosen), similar_items(batch), batch.item_index)
        return dataclasses.replace(batch, item_index=changed)
