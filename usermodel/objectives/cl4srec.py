"""CL4SRec: next-item prediction, and the contrast of two augmentations of each history."""

from __future__ import annotations

from pydantic import Field, SerializeAsAny

from usermodel.batch import JaggedBatch
from usermodel.encoders.protocol import EncoderModule
from usermodel.losses.info_nce import Similarity, info_nce
from usermodel.negatives.protocol import NegativeSampler
from usermodel.objectives.next_item import NextItem, NextItemConfig
from usermodel.objectives.protocol import Objective, ObjectiveConfig, ObjectiveOutput
from usermodel.objectives.two_views import TwoViews
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore
from usermodel.views.crop import Crop
from usermodel.views.mask import Mask
from usermodel.views.one_of import OneOf
from usermodel.views.protocol import ViewConfig
from usermodel.views.reorder import Reorder


class Cl4srecConfig(ObjectiveConfig):
    """Views, their contrast, and how the next item is told from the others.

    Attributes:
        next_item: The loss of next-item prediction.
        view: Augments a history; drawn twice for each user.
        weight: Of the contrast; next-item prediction has weight 1.
        temperature: Divides similarities.
        similarity: Of vectors as they are (``dot``), or of their directions.
    """

    next_item: NextItemConfig = NextItemConfig()
    view: SerializeAsAny[ViewConfig] = OneOf(views=(Crop(ratio=0.6), Mask(ratio=0.3), Reorder(ratio=0.6)))
    weight: float = Field(default=0.1, gt=0)
    temperature: float = Field(default=1.0, gt=0)
    similarity: Similarity = "dot"

    def draws_negatives(self, n_items: int) -> bool:
        """See `NextItemConfig.draws_negatives`."""
        return self.next_item.draws_negatives(n_items)

    def build(self, encoder: EncoderModule, negatives: NegativeSampler | None = None) -> Cl4srec:
        """The objective; it has no weights.

        Raises:
            ConfigError: See `NextItemConfig.build`; or the view hides items, and the encoder has no mask token.
        """
        return Cl4srec(self, self.next_item.build(encoder, negatives), TwoViews(self.view, encoder))


class Cl4srec(Objective):
    """``L = L_next + weight * NCE(a, b)``, with ``a, b`` the user vectors of two views of the inputs of each history.

    ``L_next`` is that of `NextItem`, at all positions. ``NCE`` is `info_nce`: for N histories in a batch, the other
    ``2 (N - 1)`` views are the negatives of each view. Source: Xie et al., ICDE 2022 (arXiv:2010.14395), sections 3.2 and
    3.3, whose similarity is the dot product. The paper searches for the weight and the sizes of views; the defaults are those
    with which the authors of DuoRec ran it. Two windows of one long history in a batch count as two users.

    Deviations: the softmax instead of one sampled negative per target (``next_item.loss=sampled-softmax`` or ``bce`` for
    that); sizes of views are rounded up (see `Crop`), so that none is empty; each view of a user is drawn by itself.
    """

    def __init__(self, config: Cl4srecConfig, next_item: NextItem, views: TwoViews) -> None:
        super().__init__()
        self.config, self.next_item, self.views = config, next_item, views

    def facts(self) -> dict[str, object]:
        """See `NextItem.facts`."""
        return self.next_item.facts()

    def on_epoch_start(self, encoder: EncoderModule, store: SequenceStore, examples: Examples) -> None:
        """See `NextItem.on_epoch_start` and `TwoViews.on_epoch_start`."""
        self.next_item.on_epoch_start(encoder, store, examples)
        self.views.on_epoch_start(encoder, store, examples)

    def forward(self, encoder: EncoderModule, batch: JaggedBatch) -> ObjectiveOutput:
        """Targets are those of `NextItem`; views are made of what comes before the last of them."""
        config, predicted = self.config, self.next_item(encoder, batch)
        inputs, _ = batch.shifted()
        one, other = self.views(encoder, inputs)
        contrast = info_nce(one, other, temperature=config.temperature, similarity=config.similarity)
        parts = {**predicted.parts, "contrast": contrast.detach()}
        return ObjectiveOutput(predicted.loss + config.weight * contrast, predicted.n_targets, parts)
