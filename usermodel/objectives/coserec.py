"""CoSeRec: CL4SRec with views that put in similar items, and with gentler views of short histories."""

from __future__ import annotations

from pydantic import Field, SerializeAsAny

from usermodel.encoders.protocol import EncoderModule
from usermodel.losses.info_nce import Similarity
from usermodel.negatives.protocol import NegativeSampler
from usermodel.objectives.cl4srec import Cl4srec, Cl4srecConfig
from usermodel.objectives.next_item import NextItemConfig
from usermodel.objectives.protocol import ObjectiveConfig
from usermodel.views.by_length import ByLength
from usermodel.views.protocol import ViewConfig


class CoserecConfig(ObjectiveConfig):
    """``L = L_next + weight * NCE(a, b)``, computed by `Cl4srec`: what CoSeRec changes are the views and the similarity.

    Source: Liu et al. 2021 (arXiv:2108.06479); the defaults are those of the released script. Similar items are those of
    `most_similar`, counted in the training histories. Deviations: the paper changes to the larger of that similarity and the
    one of item vectors after some epochs, and we do not; its script contrasts the vectors of all positions laid side by side,
    we contrast user vectors; the softmax instead of one sampled negative, as in `Cl4srec`.

    Attributes:
        next_item: The loss of next-item prediction.
        view: Augments a history; drawn twice for each user. Up to 4 events: insert, substitute or mask; beyond: these, crop or
            reorder.
        weight: Of the contrast; next-item prediction has weight 1.
        temperature: Divides similarities.
        similarity: Of vectors as they are (``dot``), or of their directions.
    """

    next_item: NextItemConfig = NextItemConfig()
    view: SerializeAsAny[ViewConfig] = ByLength()
    weight: float = Field(default=0.1, gt=0)
    temperature: float = Field(default=1.0, gt=0)
    similarity: Similarity = "cosine"

    def draws_negatives(self, n_items: int) -> bool:
        """See `NextItemConfig.draws_negatives`."""
        return self.next_item.draws_negatives(n_items)

    def build(self, encoder: EncoderModule, negatives: NegativeSampler | None = None) -> Cl4srec:
        """The objective; it has no weights, and remembers similar items.

        Raises:
            ConfigError: See `Cl4srecConfig.build`.
        """
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return Cl4srecConfig(**fields).build(encoder, negatives)
