"""One of several views for each user."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int64
from pydantic import Field, SerializeAsAny
from torch import Tensor

from usermodel.batch import JaggedBatch
from usermodel.views.crop import Crop
from usermodel.views.mask import Mask
from usermodel.views.protocol import ViewConfig
from usermodel.views.reorder import Reorder


class OneOf(ViewConfig):
    """Each user's history is changed by one of the views that fit it, drawn uniformly.

    Attributes:
        views: To draw from; the default is AdaptSSR's and CL4SRec's.
    """

    views: tuple[SerializeAsAny[ViewConfig], ...] = Field(default=(Crop(), Mask(), Reorder()), min_length=1)

    @property
    def masks(self) -> bool:
        """See `ViewConfig.masks`."""
        return any(view.masks for view in self.views)

    @property
    def reads_similar(self) -> bool:
        """See `ViewConfig.reads_similar`."""
        return any(view.reads_similar for view in self.views)

    def applied(self, batch: JaggedBatch, chosen: Bool[Tensor, " users"]) -> JaggedBatch:
        """See `ViewConfig.applied`."""
        fits = torch.stack([view.fits(batch.lengths) for view in self.views])
        n = fits.sum(0)
        wanted = (torch.rand(batch.n_users, dtype=torch.float64, device=n.device) * n).long()
        wanted = torch.minimum(wanted, (n - 1).clamp(min=0))
        # The number of each view among those that fit.
        mine = fits & (fits.cumsum(0) - 1 == wanted) & chosen
        for view, users in zip(self.views, mine, strict=True):
            batch = view.applied(batch, users)
        return batch

    def fits(self, lengths: Int64[Tensor, " users"]) -> Bool[Tensor, " users"]:
        """See `ViewConfig.fits`: one of them does."""
        return torch.stack([view.fits(lengths) for view in self.views]).any(0)
