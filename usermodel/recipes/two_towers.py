"""Recipes of two towers that share their item vectors: the user's is the mean of those of the history."""

from __future__ import annotations

from usermodel.encoders.mean_pool import MeanPoolConfig
from usermodel.nn.inputs import ItemInputsConfig
from usermodel.objectives.item_self_supervision import ItemSelfSupervisionConfig
from usermodel.objectives.next_item import NextItemConfig
from usermodel.objectives.weighted_sum import Term, WeightedSumConfig
from usermodel.training.recipe import Recipe, TrainingConfig


def two_towers_self_supervised() -> Recipe:
    """Mean-pooled items with features, sampled softmax, two views of items without some features; name encoder.inputs.item_features."""
    terms = (
        Term(objective=NextItemConfig(loss="sampled-softmax")),
        Term(objective=ItemSelfSupervisionConfig(), weight=0.2),
    )
    return Recipe(
        encoder=MeanPoolConfig(inputs=ItemInputsConfig(score_item_features=True)),
        objective=WeightedSumConfig(terms=terms),
        training=TrainingConfig(batch_events=4096, learning_rate=3e-3, schedule="plateau", patience=2),
    )
