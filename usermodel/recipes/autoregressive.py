"""Recipes that predict the next item from everything before it."""

from __future__ import annotations

from usermodel.encoders.transformer import TransformerConfig
from usermodel.objectives.next_item import NextItemConfig
from usermodel.training.recipe import Recipe, TrainingConfig


def next_item() -> Recipe:
    """Softmax over the catalogue at every position, relative positions; the default for retrieval and user vectors."""
    return Recipe(encoder=TransformerConfig(), objective=NextItemConfig(), training=TrainingConfig())


def sasrec() -> Recipe:
    """SASRec's encoder (learned positions from the end, post-norm) with the softmax instead of one negative."""
    return Recipe(
        encoder=TransformerConfig(positions="from_end"), objective=NextItemConfig(), training=TrainingConfig()
    )
