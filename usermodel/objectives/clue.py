"""CLUE: the contrast of two views of each user, and nothing else."""

from __future__ import annotations

from pydantic import Field, SerializeAsAny

from usermodel.batch import JaggedBatch
from usermodel.encoders.protocol import EncoderModule
from usermodel.losses.info_nce import Similarity, info_nce
from usermodel.negatives.protocol import NegativeSampler
from usermodel.objectives.protocol import Objective, ObjectiveConfig, ObjectiveOutput
from usermodel.objectives.two_views import TwoViews
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore
from usermodel.views.one_of import OneOf
from usermodel.views.protocol import ViewConfig


class ClueConfig(ObjectiveConfig):
    """Views and their contrast.

    Attributes:
        view: Augments a history; drawn twice for each user. None: both views are the history itself, and only dropout tells
            them apart (the paper's implicit augmentation).
        temperature: Divides similarities.
        similarity: Of directions (``cosine``), or of vectors as they are.
    """

    view: SerializeAsAny[ViewConfig] | None = OneOf()
    temperature: float = Field(default=0.1, gt=0)
    similarity: Similarity = "cosine"

    def build(self, encoder: EncoderModule, negatives: NegativeSampler | None = None) -> Clue:
        """The objective; it has no weights.

        Raises:
            ConfigError: The view hides items, and the encoder has no mask token.
        """
        del negatives
        return Clue(self, TwoViews(self.view, encoder))


class Clue(Objective):
    """``L = NCE(a, b)``, with ``a, b`` the user vectors of two views of each history, from one encoder.

    Source: Cheng et al., ICDM 2021 (contrastive learning of sequence-level user representations): two networks that share
    their weights, explicit augmentation or dropout alone. We had the abstract, not the text: the loss is that of SimCLR
    (Chen et al. 2020, arXiv:2002.05709, equation 1), the other ``2 (N - 1)`` views of a batch are negatives, there is no
    projection head, the temperature is SimCLR's, and the augmentations are those of AdaptSSR.

    Nothing teaches item vectors to score: for next-item prediction take `Cl4srec`. Items are read, not predicted.
    """

    def __init__(self, config: ClueConfig, views: TwoViews) -> None:
        super().__init__()
        self.config, self.views = config, views

    def on_epoch_start(self, encoder: EncoderModule, store: SequenceStore, examples: Examples) -> None:
        """See `TwoViews.on_epoch_start`."""
        self.views.on_epoch_start(encoder, store, examples)

    def forward(self, encoder: EncoderModule, batch: JaggedBatch) -> ObjectiveOutput:
        """A target is a user with events."""
        one, other = self.views(encoder, batch)
        loss = info_nce(one, other, temperature=self.config.temperature, similarity=self.config.similarity)
        return ObjectiveOutput(loss, len(one), {"contrast": loss.detach()})
