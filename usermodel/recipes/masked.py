"""Recipes that hide items of a history and tell them from both sides."""

from __future__ import annotations

from usermodel.encoders.adaptssr import adaptssr_encoder
from usermodel.encoders.transformer import TransformerConfig
from usermodel.objectives.masked_item import MaskedItemConfig
from usermodel.sampling.recent import RecentConfig
from usermodel.training.recipe import Recipe, TrainingConfig


def masked_item() -> Recipe:
    """A third of the items hidden, in AdaptSSR's encoder; half of the histories predict their last item instead."""
    return Recipe(
        sampling=RecentConfig(),
        encoder=adaptssr_encoder(dropout=0.5),
        objective=MaskedItemConfig(ratio=0.3, last_only=0.5),
        training=TrainingConfig(batch_users=128, learning_rate=5e-4),
    )


def bert4rec() -> Recipe:
    """BERT4Rec: hidden items, half of the time the last one alone; the next item is read at a mask behind the history."""
    return Recipe(
        encoder=TransformerConfig(causal=False, positions="from_end", mask_token=True, readout="mask"),
        objective=MaskedItemConfig(ratio=0.2, last_only=0.5),
        training=TrainingConfig(batch_events=4096),
    )
