"""Recipes that predict the next item from everything before it."""

from __future__ import annotations

from usermodel.encoders.transformer import TransformerConfig
from usermodel.negatives.uniform import UniformConfig
from usermodel.objectives.next_item import NextItemConfig
from usermodel.training.recipe import Recipe, TrainingConfig


def next_item() -> Recipe:
    """Softmax (sampled over 100,000 items) at every position, relative positions; the default for retrieval and user vectors."""
    training = TrainingConfig(batch_events=4096, learning_rate=3e-3, schedule="plateau", patience=2)
    return Recipe(encoder=TransformerConfig(), objective=NextItemConfig(), training=training)


def next_item_fast() -> Recipe:
    """`next_item` with one layer, one fall of the rate, and no patience: most of its quality in a third of the time."""
    training = TrainingConfig(
        batch_events=4096,
        learning_rate=4e-3,
        schedule="plateau",
        plateau_drops=1,
        patience=1,
        min_improvement=0.01,
    )
    return Recipe(encoder=TransformerConfig(layers=1), objective=NextItemConfig(), training=training)


def sasrec() -> Recipe:
    """SASRec's encoder (learned positions from the end, post-norm) with the softmax instead of one negative."""
    return Recipe(
        encoder=TransformerConfig(positions="from_end"), objective=NextItemConfig(), training=TrainingConfig()
    )


def gsasrec() -> Recipe:
    """gSASRec: SASRec's encoder, gBCE with t = 0.75 and 256 uniform negatives of each event's own; as published with prior=false."""
    return Recipe(
        encoder=TransformerConfig(positions="from_end"),
        objective=NextItemConfig(loss="gbce", n_negatives=256, calibration=0.75),
        negatives=UniformConfig(shared=False),
        training=TrainingConfig(),
    )
