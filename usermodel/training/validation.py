"""Validation: next-item ranks of the validation targets, shared out among the ranks; or what the caller measures at rank 0."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, get_args

import numpy as np
import torch
from numpy import ndarray

from usermodel.embedding_table import DotScorer
from usermodel.encoders.encode import batches, encode
from usermodel.encoders.protocol import EncoderModule
from usermodel.errors import ConfigError, DataError, NumericError
from usermodel.events.splits import Split
from usermodel.metrics.next_item_ranks import rank_targets
from usermodel.metrics.ranking import Ranks
from usermodel.objectives.protocol import Objective
from usermodel.sampling.protocol import Examples, Part
from usermodel.store.sequence_store import SequenceStore
from usermodel.training.collapse import CollapseWatch
from usermodel.training.place import Place
from usermodel.training.processes import Team
from usermodel.training.recipe import OF_CLASSES, Recipe, TrainingConfig

#: An encoder in, metrics out; the monitored one must be among them.
Validate = Callable[[EncoderModule], dict[str, float]]


def agree(
    team: Team,
    store: SequenceStore,
    split: Split,
    recipe: Recipe,
    own: Validate | None,
    objective: Objective,
) -> Validate:
    """What this rank calls to validate; all ranks must ask.

    Args:
        team: Connected.
        store: Holds the histories and the targets.
        split: Says which events are targets.
        recipe: Of the run.
        own: The caller's validation, at rank 0; only that rank has it, and it may do anything. None means
            `Objective.measure` on held-out labels, at rank 0, where the recipe has labels, and else `next_item_validation`, at
            all ranks. What `CollapseWatch` sees comes with each.
        objective: Of the run.
    """
    monitor, max_history = recipe.training.monitor, recipe.encoder.max_history
    ranks = own or _nothing
    if monitor == "none":
        ranks = _nothing
    elif recipe.sampling.draws_labels:
        if own is None and team.is_main:
            held_out = recipe.sampling.held_out(store, split, "valid", max_history)
            ranks = partial(objective.measure, store=store, examples=held_out)
    elif team.share(own is None):
        ranks = next_item_validation(store, split, max_history, monitor, team)
    watch = CollapseWatch(store, split, max_history) if team.is_main else _nothing
    return lambda encoder: watch(encoder) | ranks(encoder)


def _nothing(encoder: EncoderModule) -> dict[str, float]:
    del encoder
    return {}


def require_possible(store: SequenceStore, split: Split, recipe: Recipe, own: Validate | None) -> None:
    """Raise unless there is something to validate, or nothing is to be validated.

    Raises:
        ConfigError: A validation of the caller's, and ``monitor=none``; or a metric that nothing here measures.
        DataError: The split leaves no validation target, or no label.
    """
    monitor = recipe.training.monitor
    if monitor != "none" and own is None:
        if recipe.sampling.draws_labels:
            if recipe.objective.wants_labels and monitor not in recipe.objective.measures:
                expected, do = (
                    f"one of {', '.join(recipe.objective.measures)}, or none",
                    "Choose one of these.",
                )
                raise ConfigError("training.monitor", expected=expected, found=monitor, do=do)
            recipe.sampling.held_out(store, split, "valid", recipe.encoder.max_history)
        elif monitor in OF_CLASSES:
            expected, do = "hit@k, ndcg@k or mrr", "Choose one, or a recipe with labels."
            raise ConfigError("training.monitor", expected=expected, found=monitor, do=do)
        else:
            require_targets(store, split)
    if monitor == "none" and own is not None:
        expected, do = "a metric of validate", "Name one, or drop validate."
        raise ConfigError("training.monitor", expected=expected, found="none", do=do)


def label_facts(store: SequenceStore, split: Split, recipe: Recipe) -> dict[str, Any]:
    """Under ``labels`` the sha256 of what each part of the labels holds, for who scores it later; nothing without labels.

    Labels may come from a file beside the store. With other rows in it, the parts would be cut elsewhere, and training users be
    tested.
    """
    if not recipe.sampling.draws_labels:
        return {}
    found: dict[str, str | None] = {}
    for part in get_args(Part):
        try:
            examples = recipe.sampling.held_out(store, split, part, recipe.encoder.max_history)
        except DataError:
            found[part] = None
        else:
            found[part] = examples.fingerprint()
    return {"labels": found}


def require_targets(store: SequenceStore, split: Split) -> None:
    """Raise `DataError` if the split leaves no validation target."""
    users, _ = split.targets("valid")
    if not len(users):
        do = "Use longer histories or another split."
        raise DataError(str(store.path), expected="a validation target for some user", found="none", do=do)


def next_item_validation(
    store: SequenceStore, split: Split, max_history: int, monitor: str, team: Team | None = None
) -> Validate:
    """Full ranking of each user's validation target, each rank with users of its own.

    Users are cut into the same groups however many ranks there are. A group is encoded and scored in one piece, so its ranks
    are the same bits at whichever rank; counts of all groups come together before any mean is taken.

    Args:
        store: Holds the histories and the targets.
        split: Says which events are targets.
        max_history: Events that the encoder reads.
        monitor: A metric by name; it is computed beside hit@10 and ndcg@10.
        team: Ranks that call together; None means this process alone.

    Raises:
        DataError: The split leaves no validation target.
    """
    require_targets(store, split)
    examples = Examples.histories(store, *split.targets("valid"), max_history)
    names = dict.fromkeys([monitor, "hit@10", "ndcg@10"])
    team = team or Team(TrainingConfig(), Place(0, 1, 0))
    mine = shares(batches(examples.lengths), team.rank, team.world)

    def validate(encoder: EncoderModule) -> dict[str, float]:
        error, counts = None, np.zeros((3, len(examples)), dtype=np.int64)
        with torch.no_grad():
            items = encoder.item_vectors().float().cpu()[: store.n_items]
        try:
            for rows in mine:
                ranks = _rank(encoder, items, store, examples.take(rows))
                counts[:, rows] = ranks.higher, ranks.equal, ranks.candidates
        except NumericError as caught:
            error = caught
        team.raise_together(error)
        total = team.sum(torch.from_numpy(counts).to(team.fabric.device)).cpu().numpy()
        ranks = Ranks(*total)
        return {name: float(ranks.metric(name).mean()) for name in names}

    return validate


def shares(groups: list[ndarray], rank: int, world: int) -> list[ndarray]:
    """The groups of users that a rank validates: every ``world``-th one, because neighbours take about equally long."""
    return [np.sort(rows) for rows in groups[rank::world]]


def _rank(encoder: EncoderModule, items: torch.Tensor, store: SequenceStore, group: Examples) -> Ranks:
    whole = int(np.maximum(group.lengths, 1).sum())
    vectors = torch.from_numpy(encode(encoder, store, group, batch_events=whole))
    return rank_targets(DotScorer(vectors, items, rows=group.user), store, group)
