"""Recipes of AdaptSSR: whole users, compared by how they look under augmentation."""

from __future__ import annotations

from usermodel.encoders.adaptssr import adaptssr_encoder
from usermodel.objectives.adaptssr import AdaptSsrConfig
from usermodel.objectives.masked_item import MaskedItemConfig
from usermodel.sampling.recent import RecentConfig
from usermodel.training.recipe import Recipe, TrainingConfig


def adaptssr() -> Recipe:
    """AdaptSSR: 20 epochs of masked items, then two views of each user, ranked; for labels of users, no item scores."""
    warm_up = Recipe(
        sampling=RecentConfig(),
        encoder=adaptssr_encoder(dropout=0.5),
        objective=MaskedItemConfig(ratio=0.3, loss="softmax", bias=True),
        training=TrainingConfig(batch_users=128, learning_rate=5e-4, max_epochs=20, monitor="none"),
    )
    return Recipe(
        sampling=RecentConfig(),
        encoder=adaptssr_encoder(dropout=0.1),
        objective=AdaptSsrConfig(),
        training=TrainingConfig(batch_users=128, learning_rate=2e-4, max_epochs=20, monitor="none"),
        stages=(warm_up,),
    )


def adaptssr_smooth() -> Recipe:
    """`adaptssr` in which all hard negatives pull and not the hardest alone, which keeps vectors apart in short runs."""
    return adaptssr().override({"objective.smoothing": 0.1})
