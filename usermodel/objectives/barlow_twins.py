"""Barlow Twins of user vectors: two views of a user agree, and no two dimensions say the same."""

from __future__ import annotations

from itertools import pairwise

from pydantic import Field, SerializeAsAny
from torch import Tensor, nn

from usermodel.batch import JaggedBatch
from usermodel.encoders.protocol import EncoderModule
from usermodel.losses.barlow_twins import barlow_twins, standardised
from usermodel.negatives.protocol import NegativeSampler
from usermodel.objectives.protocol import Objective, ObjectiveConfig, ObjectiveOutput
from usermodel.objectives.two_views import TwoViews
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore
from usermodel.views.one_of import OneOf
from usermodel.views.protocol import ViewConfig


class BarlowTwinsConfig(ObjectiveConfig):
    """Views, the projection of user vectors, and the weight of the second term.

    Attributes:
        view: Augments a history; drawn twice for each user. None: only dropout tells the views apart.
        redundancy: Weight of what is off the diagonal; 0.0051 in the released code, for 8,192 dimensions.
        projection: Width of all three layers between user vectors and the loss; 0 means none.
    """

    view: SerializeAsAny[ViewConfig] | None = OneOf()
    redundancy: float = Field(default=0.0051, gt=0)
    projection: int = Field(default=256, ge=0)

    def build(self, encoder: EncoderModule, negatives: NegativeSampler | None = None) -> BarlowTwins:
        """The objective; its projection is its own.

        Raises:
            ConfigError: The view hides items, and the encoder has no mask token.
        """
        del negatives
        return BarlowTwins(self, TwoViews(self.view, encoder), encoder.dim)


class BarlowTwins(Objective):
    """``L = sum_i (1 - C_ii)^2 + redundancy * sum_{i != j} C_ij^2``, C the correlations of two projected views over users.

    There are no negatives. Source: Zbontar et al., ICML 2021 (arXiv:2103.03230, equations 1 and 2), for images; the views are
    those of AdaptSSR. Deviations: the projection is 256 wide, not 8,192, and its normalisations have no weights and use the
    batch in evaluation, too. Nothing teaches item vectors to score.
    """

    def __init__(self, config: BarlowTwinsConfig, views: TwoViews, dim: int) -> None:
        super().__init__()
        self.redundancy, self.views = config.redundancy, views
        widths = [dim, *[config.projection] * 3] if config.projection else []
        self.layers = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in pairwise(widths))

    def on_epoch_start(self, encoder: EncoderModule, store: SequenceStore, examples: Examples) -> None:
        """See `TwoViews.on_epoch_start`."""
        self.views.on_epoch_start(encoder, store, examples)

    def forward(self, encoder: EncoderModule, batch: JaggedBatch) -> ObjectiveOutput:
        """A target is a user with events; one alone has loss 0."""
        both = self.views(encoder, batch)
        if both.shape[1]:
            both = self._projected(both)
        found = barlow_twins(both[0], both[1])
        parts = {"invariance": found.invariance.detach(), "redundancy": found.redundancy.detach()}
        return ObjectiveOutput(found.invariance + self.redundancy * found.redundancy, both.shape[1], parts)

    def _projected(self, rows: Tensor) -> Tensor:
        """Each view is normalised by itself, and the last layer's output by the loss."""
        for number, layer in enumerate(self.layers):
            rows = layer(standardised(rows).relu() if number else rows)
        return rows
