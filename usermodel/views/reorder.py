"""Shuffle a piece of each history."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Bool
from pydantic import Field
from torch import Tensor

from usermodel.batch import JaggedBatch
from usermodel.views.protocol import ViewConfig, order_within, piece_starts, share_of


class Reorder(ViewConfig):
    """``ceil(ratio n)`` neighbouring events of n, from a uniform start, in random order (CL4SRec: section 3.3.3).

    Times stay where they are, so that they never run backwards; all else moves with its item.

    Attributes:
        ratio: Share that is shuffled; 0.6 in AdaptSSR.
    """

    ratio: float = Field(default=0.6, gt=0, le=1)

    def applied(self, batch: JaggedBatch, chosen: Bool[Tensor, " users"]) -> JaggedBatch:
        """See `ViewConfig.applied`."""
        lengths, owner, place = batch.lengths, batch.user_of_event, batch.position
        pieces = share_of(lengths, self.ratio) * chosen
        starts = piece_starts(lengths, pieces)
        inside = (place >= starts[owner]) & (place < (starts + pieces)[owner])
        # Places within the piece are drawn anew; those before and after it are below and above all of them.
        drawn = torch.rand(len(place), dtype=torch.float64, device=place.device)
        keys = torch.where(inside, starts[owner] + drawn * pieces[owner], place.double())
        moved = batch.rows(order_within(keys, batch), batch.offsets)
        return dataclasses.replace(moved, timestamps_s=batch.timestamps_s)
