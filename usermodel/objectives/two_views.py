"""Two augmentations of each history, encoded: what objectives compare that learn from views."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from usermodel.batch import JaggedBatch
from usermodel.encoders.protocol import EncoderModule
from usermodel.objectives.similar_items import SimilarItems
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore
from usermodel.views.protocol import ViewConfig
from usermodel.views.similar import with_similar, without_similar


class TwoViews(nn.Module):
    """User vectors of two draws of one view; views that put in similar items are told which.

    Both go through the encoder in one pass, in which dropout draws anew for each.

    Args:
        view: Augments a history; None leaves it as it is, so that views differ by dropout alone.
        encoder: What will encode them; not kept.
        hybrid_after: See `SimilarItems`; for views that put in similar items.

    Raises:
        ConfigError: The view hides items, and the encoder has no mask token.
    """

    def __init__(
        self, view: ViewConfig | None, encoder: EncoderModule, hybrid_after: int | None = None
    ) -> None:
        super().__init__()
        if view is not None and view.masks:
            encoder.require_mask_token()
        self.view = view
        reads = view is not None and view.reads_similar
        self.similar = SimilarItems(encoder.n_items, hybrid_after) if reads else None

    def on_epoch_start(self, encoder: EncoderModule, store: SequenceStore, examples: Examples) -> None:
        """Find similar items, where the view wants them; see `SimilarItems.on_epoch_start`."""
        if self.similar is not None:
            self.similar.on_epoch_start(encoder, store, examples)

    def draw(self, encoder: EncoderModule, batch: JaggedBatch) -> tuple[JaggedBatch, JaggedBatch]:
        """Both augmentations of the histories of a batch, no longer than the encoder reads."""
        one, other = (self._draw(batch).latest(encoder.max_history) for _ in range(2))
        return one, other

    def forward(self, encoder: EncoderModule, batch: JaggedBatch) -> Float[Tensor, "2 filled dim"]:
        """Both vectors of each user with events; users without are left out."""
        batch = batch.take(torch.nonzero(batch.lengths).squeeze(1))
        both = JaggedBatch.join(self.draw(encoder, batch))
        return encoder(both).users.view(2, batch.n_users, encoder.dim)

    def _draw(self, batch: JaggedBatch) -> JaggedBatch:
        if self.view is None:
            return batch
        if self.similar is None:
            return self.view(batch)
        return without_similar(self.view(with_similar(batch, self.similar.most_similar)))
