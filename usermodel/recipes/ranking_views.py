"""Recipes of AdaptSSR: whole users, compared by how they look under augmentation."""

from __future__ import annotations

from usermodel.encoders.transformer import TransformerConfig
from usermodel.objectives.adaptssr import AdaptSsrConfig
from usermodel.sampling.recent import RecentConfig
from usermodel.training.recipe import Recipe, TrainingConfig


def adaptssr() -> Recipe:
    """AdaptSSR's second stage: two views of each user, ranked; for user attributes and other labels of users."""
    return Recipe(
        sampling=RecentConfig(),
        encoder=TransformerConfig(
            causal=False,
            readout="attention",
            positions="from_start",
            mask_token=True,
            dropout=0.1,
            attention_dropout=0.1,
        ),
        objective=AdaptSsrConfig(),
        training=TrainingConfig(batch_users=128, learning_rate=2e-4, max_epochs=20, monitor="none"),
    )
