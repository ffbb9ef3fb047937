"""ICLRec: next-item prediction, contrast of two augmented views, and contrast of the views with the intent of the history."""

from __future__ import annotations

from functools import partial

import torch
from pydantic import Field, SerializeAsAny, model_validator

from usermodel.batch import JaggedBatch
from usermodel.encoders.encode import encode
from usermodel.encoders.protocol import EncoderModule
from usermodel.losses.info_nce import Similarity, info_nce
from usermodel.negatives.protocol import NegativeSampler
from usermodel.objectives.intents import Intents
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

#: The defaults of the released code; CL4SRec's and AdaptSSR's ratios differ.
VIEWS = OneOf(views=(Crop(ratio=0.2), Mask(ratio=0.7), Reorder(ratio=0.2)))


class IclrecConfig(ObjectiveConfig):
    """Weights of the contrasts beside next-item prediction, which counts 1; the defaults are the released script for Beauty.

    Attributes:
        next_item: The loss of next-item prediction.
        sequence: Weight of the contrast of two views of the same history; 0 leaves it out.
        intent: Weight of the contrast of the views with the centroid of the history's cluster; 0 leaves it out.
        clusters: Clusters, should ``intent`` not be 0.
        view: Augmentation, drawn twice for each history.
        temperature: Divides similarities.
        similarity: Of vectors as they are (``dot``), or of their directions.
        mask_false_negatives: In the contrast with intents, histories of the same cluster are no negatives of each other.
    """

    next_item: NextItemConfig = NextItemConfig()
    sequence: float = Field(default=0.1, ge=0)
    intent: float = Field(default=0.1, ge=0)
    clusters: int = Field(default=256, ge=1)
    view: SerializeAsAny[ViewConfig] = VIEWS
    temperature: float = Field(default=1.0, gt=0)
    similarity: Similarity = "dot"
    mask_false_negatives: bool = True

    @model_validator(mode="after")
    def _no_option_without_effect(self) -> IclrecConfig:
        if not (self.sequence or self.intent):
            raise ValueError("sequence or intent above 0; without both this is NextItemConfig")
        return self

    def draws_negatives(self, n_items: int) -> bool:
        """See `NextItemConfig.draws_negatives`."""
        return self.next_item.draws_negatives(n_items)

    def build(self, encoder: EncoderModule, negatives: NegativeSampler | None = None) -> Iclrec:
        """The objective; it has no weights, and remembers centroids.

        Raises:
            ConfigError: The encoder sees later events, or lacks the mask token that ``view`` needs; or the loss needs a sampler.
        """
        next_item = self.next_item.build(encoder, negatives)
        return Iclrec(self, next_item, TwoViews(self.view, encoder), encoder.dim)


class Iclrec(Objective):
    """``L = CE + sequence * NCE(h', h'') + intent * (NCE(h', c) + NCE(h'', c))``.

    CE is that of `NextItem` at all positions of the history; ``h'`` and ``h''`` are user vectors of two augmentations of it,
    ``c`` is the centroid, of length 1, that is nearest to the user's vector of the history itself. NCE is `info_nce`; with
    ``mask_false_negatives`` equal clusters are no negatives in the terms with ``c``.

    Source: Chen et al., WWW 2022 (arXiv:2202.02519), the form of the terms after the released code, where the masking of false
    negatives is an option that is off. Deviations: CE is the softmax, in the paper binary with one negative; all vectors are
    the encoder's read-out, which is what is exported, in the released code the mean over all places, padding included, and in
    the contrast of views all of them side by side; the views share a pass between both contrasts, there each has its own;
    `Intents` begin from the centroids of the epoch before.
    """

    def __init__(self, config: IclrecConfig, next_item: NextItem, views: TwoViews, dim: int) -> None:
        super().__init__()
        self.config, self.next_item, self.views = config, next_item, views
        self.intents = Intents(config.clusters, dim) if config.intent else None

    def facts(self) -> dict[str, object]:
        """See `NextItem.facts`."""
        return self.next_item.facts()

    def on_epoch_start(self, encoder: EncoderModule, store: SequenceStore, examples: Examples) -> None:
        """Cluster all histories without their last event, which is only a target; let the sampler follow the encoder."""
        self.next_item.on_epoch_start(encoder, store, examples)
        self.views.on_epoch_start(encoder, store, examples)
        if self.intents is not None:
            histories = examples.shortened().thinned(self.intents.most_points)
            self.intents.fit(encode(encoder, store, histories))

    def forward(self, encoder: EncoderModule, batch: JaggedBatch) -> ObjectiveOutput:
        """Histories without an event to predict are left out."""
        config = self.config
        batch = batch.take(torch.nonzero(batch.lengths > 1).squeeze(1))
        inputs, target = batch.shifted()
        encoded = encoder(inputs)
        item_loss = self.next_item.loss
        loss = item_loss(encoder, encoded.events, target, inputs.owner)
        parts = {item_loss.name: loss.detach()}
        first, second = self.views(encoder, inputs)
        nce = partial(info_nce, temperature=config.temperature, similarity=config.similarity)
        if config.sequence:
            sequence = nce(first, second)
            loss, parts["sequence"] = loss + config.sequence * sequence, sequence.detach()
        if self.intents is not None:
            number = self.intents.of(encoded.users)
            centroid, label = self.intents.prototypes(number), number if config.mask_false_negatives else None
            intent = nce(first, centroid, label) + nce(second, centroid, label)
            loss, parts["intent"] = loss + config.intent * intent, intent.detach()
        return ObjectiveOutput(loss, len(target), parts)
