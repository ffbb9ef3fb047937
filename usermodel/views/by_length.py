"""One view for short histories, another one for long ones."""

from __future__ import annotations

from jaxtyping import Bool, Int64
from pydantic import Field, SerializeAsAny
from torch import Tensor, where

from usermodel.batch import JaggedBatch
from usermodel.views.crop import Crop
from usermodel.views.insert import Insert
from usermodel.views.mask import Mask
from usermodel.views.one_of import OneOf
from usermodel.views.protocol import ViewConfig
from usermodel.views.reorder import Reorder
from usermodel.views.substitute import Substitute


class ByLength(ViewConfig):
    """Histories of up to ``threshold`` events are changed by ``short``, longer ones by ``long``; the defaults are CoSeRec's.

    Cropping or shuffling a history of few events changes what it means. Source: CoSeRec (Liu et al. 2021, arXiv:2108.06479).
    As in the released code, a history of ``threshold`` events is short.

    Attributes:
        threshold: Events of the longest short history.
        short: For short histories.
        long: For all others.
    """

    threshold: int = Field(default=4, ge=1)
    short: SerializeAsAny[ViewConfig] = OneOf(views=(Insert(), Substitute(), Mask(ratio=0.7)))
    long: SerializeAsAny[ViewConfig] = OneOf(
        views=(Insert(), Crop(ratio=0.2), Mask(ratio=0.7), Reorder(ratio=0.2), Substitute())
    )

    @property
    def masks(self) -> bool:
        """See `ViewConfig.masks`."""
        return self.short.masks or self.long.masks

    @property
    def reads_similar(self) -> bool:
        """See `ViewConfig.reads_similar`."""
        return self.short.reads_similar or self.long.reads_similar

    def applied(self, batch: JaggedBatch, chosen: Bool[Tensor, " users"]) -> JaggedBatch:
        """See `ViewConfig.applied`."""
        short = batch.lengths <= self.threshold
        return self.long.applied(self.short.applied(batch, chosen & short), chosen & ~short)

    def fits(self, lengths: Int64[Tensor, " users"]) -> Bool[Tensor, " users"]:
        """See `ViewConfig.fits`."""
        return where(lengths <= self.threshold, self.short.fits(lengths), self.long.fits(lengths))
