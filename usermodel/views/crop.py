"""Keep a piece of each history."""

from __future__ import annotations

from jaxtyping import Bool
from pydantic import Field
from torch import Tensor, where

from usermodel.batch import JaggedBatch
from usermodel.views.protocol import ViewConfig, piece_starts, share_of


class Crop(ViewConfig):
    """``ceil(ratio n)`` neighbouring events of n, from a uniform start (CL4SRec: Xie et al. 2022, section 3.3.1).

    Attributes:
        ratio: Share that is kept; 0.4 in AdaptSSR.
    """

    ratio: float = Field(default=0.4, gt=0, le=1)

    def applied(self, batch: JaggedBatch, chosen: Bool[Tensor, " users"]) -> JaggedBatch:
        """See `ViewConfig.applied`."""
        lengths = batch.lengths
        pieces = where(chosen, share_of(lengths, self.ratio), lengths)
        after = batch.position - piece_starts(lengths, pieces)[batch.user_of_event]
        return batch.select((after >= 0) & (after < pieces[batch.user_of_event]))
