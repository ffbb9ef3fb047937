"""AdaptSSR: views of a user are ranked rather than pulled together."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field, SerializeAsAny, model_validator

from usermodel.batch import JaggedBatch
from usermodel.encoders.protocol import EncoderModule
from usermodel.losses.pairwise_ranking import Constraints, Fusion, RankingOptions, pairwise_ranking
from usermodel.negatives.protocol import NegativeSampler
from usermodel.objectives.protocol import Objective, ObjectiveConfig, ObjectiveOutput
from usermodel.objectives.two_views import TwoViews
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore
from usermodel.views.one_of import OneOf
from usermodel.views.protocol import ViewConfig


class AdaptSsrConfig(ObjectiveConfig):
    """The augmentation, and what of the ranking is switched on; the defaults are the released code.

    Attributes:
        view: Augments a history; drawn twice for each user. The default crops to 0.4 of the events, hides 0.6 or shuffles 0.6.
        fusion: Weight of the first constraint: 1 minus the mean similarity of explicit views over the ``batch``, or of each
            ``sample``; or a number that does not adapt.
        hard_negatives: The hardest pair of each kind counts, not the mean of its kind.
        constraints: ``both``; ``implicit``: the implicit view above the explicit one; ``explicit``: that above other users.
        smoothing: Of the maximum over other users, see `RankingOptions`; not in the released code. With 0.1 vectors do not collapse
            in short runs, as they do otherwise: see decision 0011.
    """

    view: SerializeAsAny[ViewConfig] = OneOf()
    fusion: Fusion | Annotated[float, Field(ge=0, le=1)] = "batch"
    hard_negatives: bool = True
    constraints: Constraints = "both"
    smoothing: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _no_option_without_effect(self) -> AdaptSsrConfig:
        if self.smoothing is not None and (not self.hard_negatives or self.constraints == "implicit"):
            found = f"hard_negatives={self.hard_negatives}, constraints={self.constraints}"
            raise ValueError(f"smoothing only with a maximum over other users, got {found}")
        return self

    def build(self, encoder: EncoderModule, negatives: NegativeSampler | None = None) -> AdaptSsr:
        """The objective; it has no weights.

        Raises:
            ConfigError: The view hides items, and the encoder has no mask token.
        """
        del negatives
        return AdaptSsr(self, TwoViews(self.view, encoder))


class AdaptSsr(Objective):
    """``L = - mean log sigmoid(w (s_implicit - max s_explicit) + (1 - w)(min s_explicit - max s_others))``, w detached.

    Two augmentations of each history, each encoded under two dropout masks; similarities are cosines, and either augmentation
    is the anchor once: see `pairwise_ranking`. Source: Yu et al., NeurIPS 2023 (arXiv:2310.09706), after the released code,
    whose weight w is one for the batch; the abstract of the paper speaks of samples (``fusion``).

    The encoder should have dropout: without it the implicit view is the anchor itself. Deviation: a penalty on several
    queries of attention pooling is left out, because our pooling has one, for which it is 0.
    """

    def __init__(self, config: AdaptSsrConfig, views: TwoViews) -> None:
        super().__init__()
        self.views = views
        self.options = RankingOptions(
            config.fusion, config.hard_negatives, config.constraints, config.smoothing
        )

    def on_epoch_start(self, encoder: EncoderModule, store: SequenceStore, examples: Examples) -> None:
        """See `TwoViews.on_epoch_start`."""
        self.views.on_epoch_start(encoder, store, examples)

    def forward(self, encoder: EncoderModule, batch: JaggedBatch) -> ObjectiveOutput:
        """Users without events are left out; a target is a user."""
        batch = batch.take(torch.nonzero(batch.lengths).squeeze(1))
        one, other = self.views.draw(encoder, batch)
        # a, p, s, t: one pass, because dropout draws anew for every row.
        users = encoder(JaggedBatch.join([one, one, other, other])).users
        found = pairwise_ranking(users.view(4, batch.n_users, encoder.dim), self.options)
        parts = {
            "ranking": found.loss.detach(),
            "weight": found.weight,
            "implicit_first": found.implicit_first,
            "explicit_first": found.explicit_first,
        }
        return ObjectiveOutput(found.loss, batch.n_users, {name: one.float() for name, one in parts.items()})
