"""Recipes of several losses at once."""

from __future__ import annotations

from usermodel.encoders.transformer import TransformerConfig
from usermodel.objectives.adaptssr import AdaptSsrConfig
from usermodel.objectives.iclrec import IclrecConfig
from usermodel.objectives.masked_item import MaskedItemConfig
from usermodel.objectives.matryoshka import MatryoshkaConfig, Size
from usermodel.objectives.weighted_sum import Term, WeightedSumConfig
from usermodel.sampling.recent import RecentConfig
from usermodel.training.recipe import Recipe, TrainingConfig


def iclrec() -> Recipe:
    """ICLRec: next items, two views of each history pulled together, and both to the history's intent out of 256."""
    return Recipe(
        encoder=TransformerConfig(positions="from_end", mask_token=True, dropout=0.5, attention_dropout=0.5),
        objective=IclrecConfig(),
        training=TrainingConfig(batch_users=256, monitor="ndcg@20", patience=40, max_epochs=300),
    )


def masked_item_adaptssr() -> Recipe:
    """Masked items and AdaptSSR's ranking of views in one stage, one tenth as heavy: an example of a weighted sum."""
    terms = (
        Term(objective=MaskedItemConfig(ratio=0.3, last_only=0.5)),
        Term(objective=AdaptSsrConfig(), weight=0.1),
    )
    return Recipe(
        sampling=RecentConfig(),
        encoder=TransformerConfig(causal=False, readout="attention", positions="from_start", mask_token=True),
        objective=WeightedSumConfig(terms=terms),
        training=TrainingConfig(batch_users=128),
    )


def next_item_matryoshka() -> Recipe:
    """`next-item` whose first 32 numbers at two layers and first 16 at one layer are user vectors of their own."""
    training = TrainingConfig(batch_events=4096, learning_rate=3e-3, schedule="plateau", patience=2)
    sizes = (Size(width=32, layers=2), Size(width=16, layers=1))
    return Recipe(
        encoder=TransformerConfig(layers=3), objective=MatryoshkaConfig(sizes=sizes), training=training
    )
