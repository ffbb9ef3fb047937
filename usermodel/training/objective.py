"""The objective of a recipe, with the negatives it asks for."""

from __future__ import annotations

from usermodel.encoders.protocol import EncoderModule
from usermodel.errors import ConfigError
from usermodel.events.splits import Split
from usermodel.objectives.protocol import Objective
from usermodel.store.sequence_store import SequenceStore
from usermodel.training.recipe import Recipe


def build_objective(recipe: Recipe, encoder: EncoderModule, store: SequenceStore, split: Split) -> Objective:
    """Build the objective, and a sampler of negatives where its loss draws any.

    Raises:
        ConfigError: The ``negatives`` group was changed, and nothing draws negatives.
    """
    if recipe.objective.draws_negatives(encoder.n_items):
        return recipe.objective.build(encoder, recipe.negatives.build(store, split))
    default: object = Recipe.model_fields["negatives"].default
    if recipe.negatives != default:
        expected = "its default, because the objective draws no negatives"
        found, do = repr(recipe.negatives), "Drop it, or choose objective.loss=sampled-softmax."
        raise ConfigError("negatives", expected=expected, found=found, do=do)
    return recipe.objective.build(encoder)
