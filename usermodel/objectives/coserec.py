"""CoSeRec: CL4SRec with views that put in similar items, and with gentler views of short histories."""

from __future__ import annotations

from pydantic import Field, SerializeAsAny

from usermodel.encoders.protocol import EncoderModule
from usermodel.errors import ConfigError
from usermodel.losses.info_nce import Similarity
from usermodel.negatives.protocol import NegativeSampler
from usermodel.objectives.cl4srec import Cl4srec, Cl4srecConfig
from usermodel.objectives.next_item import NextItemConfig
from usermodel.objectives.protocol import ObjectiveConfig
from usermodel.objectives.two_views import TwoViews
from usermodel.views.by_length import ByLength
from usermodel.views.protocol import ViewConfig


class CoserecConfig(ObjectiveConfig):
    """``L = L_next + weight * NCE(a, b)``, computed by `Cl4srec`: what CoSeRec changes are the views and the similarity.

    Source: Liu et al. 2021 (arXiv:2108.06479); the defaults are those of the released script. Similar items are those of
    `SimilarItems`, counted in the training histories, and with ``hybrid_after`` later on also those of item vectors. Deviations
    beside those named there: its script contrasts the vectors of all positions laid side by side,
    we contrast user vectors; the softmax instead of one sampled negative, as in `Cl4srec`.

    Attributes:
        next_item: The loss of next-item prediction.
        view: Augments a history; drawn twice for each user. Up to 4 events: insert, substitute or mask; beyond: these, crop or
            reorder.
        weight: Of the contrast; next-item prediction has weight 1.
        temperature: Divides similarities.
        similarity: Of vectors as they are (``dot``), or of their directions.
        hybrid_after: Epochs after which an item may also be similar by its vector; 160 in the released script, 220 there for
            Beauty. None means never, which spares a product of all items with all in every such epoch.
    """

    next_item: NextItemConfig = NextItemConfig()
    view: SerializeAsAny[ViewConfig] = ByLength()
    weight: float = Field(default=0.1, gt=0)
    temperature: float = Field(default=1.0, gt=0)
    similarity: Similarity = "cosine"
    hybrid_after: int | None = Field(default=None, ge=0)

    def draws_negatives(self, n_items: int) -> bool:
        """See `NextItemConfig.draws_negatives`."""
        return self.next_item.draws_negatives(n_items)

    def build(self, encoder: EncoderModule, negatives: NegativeSampler | None = None) -> Cl4srec:
        """The objective; it has no weights, and remembers similar items.

        Raises:
            ConfigError: See `Cl4srecConfig.build`; or ``hybrid_after`` for a view that puts in no similar items.
        """
        if self.hybrid_after is not None and not self.view.reads_similar:
            expected, found = "a view that puts in similar items", f"{type(self.view).__name__}"
            do = "Set objective.hybrid_after=null, or choose another objective.view."
            raise ConfigError("objective.hybrid_after", expected=expected, found=found, do=do)
        fields = {name: getattr(self, name) for name in Cl4srecConfig.model_fields}
        views = TwoViews(self.view, encoder, self.hybrid_after)
        return Cl4srec(Cl4srecConfig(**fields), self.next_item.build(encoder, negatives), views)
