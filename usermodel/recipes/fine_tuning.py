"""Recipes that learn from labels, on top of a pretrained encoder: stages to put last, and what `finetune` starts from."""

from __future__ import annotations

from usermodel.encoders.adaptssr import adaptssr_encoder
from usermodel.objectives.user_attribute import UserAttributeConfig
from usermodel.objectives.user_choice import UserChoiceConfig
from usermodel.sampling.labelled_choices import LabelledChoicesConfig
from usermodel.sampling.labelled_users import LabelledUsersConfig
from usermodel.training.recipe import Recipe, TrainingConfig


def user_attribute() -> Recipe:
    """Classes of users from labels, with AdaptSSR's encoder and fine-tuning; see `usermodel finetune`."""
    return Recipe(
        sampling=LabelledUsersConfig(),
        encoder=adaptssr_encoder(dropout=0.5),
        objective=UserAttributeConfig(),
        training=TrainingConfig(batch_users=128, learning_rate=2e-4, max_epochs=5, monitor="accuracy"),
    )


def user_choice() -> Recipe:
    """What users choose among many things from labels, with AdaptSSR's encoder and fine-tuning; see `usermodel finetune`."""
    return Recipe(
        sampling=LabelledChoicesConfig(),
        encoder=adaptssr_encoder(dropout=0.5),
        objective=UserChoiceConfig(),
        training=TrainingConfig(batch_users=512, learning_rate=5e-4, max_epochs=5, monitor="ndcg@10"),
    )
