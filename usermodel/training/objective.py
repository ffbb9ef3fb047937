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
        ConfigError: The ``negatives`` group was changed, and nothing draws negatives; or the ``sampling`` group draws partners
            or labels, and the objective has no use for them, or the other way round.
        ConfigError: Negatives from the batch go by counts of events, and the targets do not.
        DataError: The store has no such labels.
    """
    _require_agreement(recipe)
    if recipe.objective.wants_labels:
        return recipe.objective.build_labelled(encoder, recipe.sampling.answers(store))
    if recipe.objective.draws_negatives(encoder.n_items):
        _require_targets_as_counted(recipe)
        return recipe.objective.build(encoder, recipe.negatives.build(store, split))
    default: object = Recipe.model_fields["negatives"].default
    if recipe.negatives != default:
        expected = "its default, because the objective draws no negatives"
        found, do = repr(recipe.negatives), "Drop it, or choose objective.loss=sampled-softmax."
        raise ConfigError("negatives", expected=expected, found=found, do=do)
    return recipe.objective.build(encoder)


def _require_targets_as_counted(recipe: Recipe) -> None:
    """Raise where negatives go by counts of events, and targets do not."""
    if recipe.negatives.counts_targets and not recipe.sampling.targets_as_counted:
        expected = "in-batch negatives that estimate how often an item is a target"
        found = f"frequencies=counts, where {type(recipe.sampling).__name__} draws targets otherwise"
        raise ConfigError("negatives", expected=expected, found=found, do="Set frequencies=streaming.")


def _require_agreement(recipe: Recipe) -> None:
    """Partners and labels are drawn if, and only if, the objective has a use for them."""
    objective, sampling = recipe.objective, recipe.sampling
    partners = (
        "Set sampling.class=usermodel.sampling.pieces:PiecesConfig and sampling.partner=last or random."
    )
    no_partners = "Set sampling.partner=none, or choose an objective that compares examples."
    labels = "Take the recipe user-attribute or user-choice, which have both."
    for what, wanted, drawn, do, do_not in (
        ("partners", objective.wants_partners, sampling.draws_partners, partners, no_partners),
        ("labels", objective.wants_labels, sampling.draws_labels, labels, labels),
    ):
        if wanted != drawn:
            expected = f"{'examples with' if wanted else 'no'} {what} for {type(objective).__name__}"
            mend = do if wanted else do_not
            raise ConfigError("sampling", expected=expected, found=repr(sampling), do=mend)
