"""Prediction of the last item of every slice from what comes before it: one target an example."""

from __future__ import annotations

import torch

from usermodel.batch import JaggedBatch
from usermodel.encoders.protocol import EncoderModule
from usermodel.negatives.protocol import NegativeSampler
from usermodel.objectives.item_loss import ItemLoss
from usermodel.objectives.next_item import NextItemConfig
from usermodel.objectives.protocol import Objective, ObjectiveConfig, ObjectiveOutput
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore


class LastItemConfig(ObjectiveConfig):
    """One target a slice: for samplers that choose their targets, such as `RecentPositivesConfig` or `ItemUniformConfig`.

    Attributes:
        next_item: How the item is told from the others.
    """

    next_item: NextItemConfig = NextItemConfig()

    def draws_negatives(self, n_items: int) -> bool:
        """See `NextItemConfig.draws_negatives`."""
        return self.next_item.draws_negatives(n_items)

    def build(self, encoder: EncoderModule, negatives: NegativeSampler | None = None) -> LastItem:
        """The objective; it has no weights. Any encoder will do, because the target is no input.

        Raises:
            ConfigError: The loss needs a sampler.
        """
        return LastItem(self.next_item.build_loss(encoder, negatives))


class LastItem(Objective):
    """``L = mean over slices of loss(u . E^T, last item)``, with ``u`` the user's vector after all events but the last.

    The objective of two-tower models (Covington et al. 2016; Yi et al. 2019): one pass for each target, where `NextItem` trains all
    positions of a history in one. Slices of one event have no target.
    """

    def __init__(self, loss: ItemLoss) -> None:
        super().__init__()
        self.loss = loss

    def facts(self) -> dict[str, object]:
        """See `NextItem.facts`."""
        return self.loss.facts()

    def on_epoch_start(self, encoder: EncoderModule, store: SequenceStore, examples: Examples) -> None:
        """Let the sampler follow the encoder."""
        del examples
        self.loss.refresh(encoder, store)

    def forward(self, encoder: EncoderModule, batch: JaggedBatch) -> ObjectiveOutput:
        """Mean over the slices of the batch that have two events or more."""
        enough = torch.nonzero(batch.lengths > 1).squeeze(1)
        inputs, target = batch.take(enough).without_last()
        loss = self.loss(encoder, encoder.users(inputs), target, inputs.user)
        return ObjectiveOutput(loss, len(target), {self.loss.name: loss.detach()})
