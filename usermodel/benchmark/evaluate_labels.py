"""A run and labels of users -> task results: a linear probe on its vectors, or the head it was fine-tuned with."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from usermodel.embeddings.user_encoder import UserEncoder
from usermodel.errors import ConfigError, IntegrityError, MismatchError, MissingError
from usermodel.heads import io as heads
from usermodel.metrics import classification
from usermodel.metrics.intervals import intervals, words
from usermodel.metrics.per_user import PerUser
from usermodel.objectives.user_attribute import UserAttribute as AttributeHead
from usermodel.objectives.user_choice import METRICS, UserChoice
from usermodel.sampling.protocol import Examples, Part
from usermodel.schema import USER
from usermodel.store.sequence_store import SequenceStore
from usermodel.tasks.protocol import TaskResult
from usermodel.tasks.user_attribute import UserAttribute
from usermodel.training.recipe import Recipe
from usermodel.training.run import Run


def evaluate_attribute(
    run: Run | str | os.PathLike[str],
    store: SequenceStore | str | os.PathLike[str],
    task: UserAttribute | str,
    *,
    allow_modules: Sequence[str] = (),
    on_progress: Callable[[int, int], None] | None = None,
) -> list[TaskResult]:
    """Cross-validate a probe of an attribute on the frozen vectors of a run.

    Vectors are those that `embed` gives: of whole histories.

    Args:
        run: A finished run, or its path; or that of a saved encoder.
        store: Whose users; it must extend the run's items.
        task: What to probe for and how; a name means that column of the store's users table.
        allow_modules: Modules outside usermodel whose classes the run may name.
        on_progress: Called with (users encoded, users in all).

    Raises:
        DataError: No such column, or no classes; see `UserAttribute`.
    """
    store = store if isinstance(store, SequenceStore) else SequenceStore.open(store)
    task = UserAttribute(task) if isinstance(task, str) else task
    task.requests(store)
    if trained_on(run, task.label, allow_modules):
        warnings.warn(
            f"the vectors were fine-tuned on {task.label!r}, of users that the probe guesses, too: it will look better than it is. "
            "Score the head instead: leave --label out",
            UserWarning,
            stacklevel=2,
        )
    return probe_encoder(UserEncoder.load(run, allow_modules=allow_modules), store, task, on_progress)


def probe_encoder(
    encoder: UserEncoder,
    store: SequenceStore,
    task: UserAttribute,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[TaskResult]:
    """`evaluate_attribute` for an encoder."""
    users = store.users.decode(task.requests(store).user + 1).alias(USER)
    return task.score(encoder.encode(store, users=users, on_progress=on_progress), store)


def evaluate_head(
    run: Run | str | os.PathLike[str],
    store: SequenceStore | str | os.PathLike[str],
    *,
    part: Part = "test",
    source: str | os.PathLike[str] | None = None,
    allow_modules: Sequence[str] = (),
) -> list[TaskResult]:
    """Score the head of a fine-tuned run on labels that it was not trained on.

    Args:
        run: A finished run of an objective with labels.
        store: The store it was trained on.
        part: ``test`` or ``valid``.
        source: Where the file with the labels is now; None means where it was in training.
        allow_modules: Modules outside usermodel whose classes the run may name.

    Raises:
        ConfigError: A file for labels that are not read from one.
        MissingError: The run has no head, or no such file.
        MismatchError: Another store, or other labels in the file of the run: what is tested now may have been trained on.
    """
    run = run if isinstance(run, Run) else Run.open(run, allow_modules=allow_modules)
    store = store if isinstance(store, SequenceStore) else SequenceStore.open(store)
    _require_head(run, store)
    recipe, encoder = run.recipe, UserEncoder.load(run, allow_modules=allow_modules)
    encoder.require(store)
    split = store.split(recipe.data.split)
    head = heads.load(Path(run.path) / "head")
    sampling = recipe.sampling if source is None else _moved(recipe.sampling, source)
    examples = sampling.held_out(store, split, part, encoder.module.max_history)
    answers = sampling.answers(store)
    if head.answers != answers or examples.fingerprint() != run.meta["labels"][part]:
        found = f"others, of {len(answers):,} answers"
        do = "Evaluate with the labels the run was trained with, and with no others among them."
        expected = f"those the run was trained with, of {len(head.answers):,} answers"
        raise MismatchError("labels", expected=expected, found=found, do=do)
    objective = recipe.objective.build_labelled(encoder.module, head.answers)
    assert objective.head is not None
    objective.head.load_state_dict(head.state_dict())
    if isinstance(objective, AttributeHead):
        return _classes(objective, encoder, store, examples, part)
    assert isinstance(objective, UserChoice)
    return _choices(objective, encoder, store, examples, part)


def _require_head(run: Run, store: SequenceStore) -> None:
    """Raise unless the run has a head, and was trained on this store."""
    if run.recipe.objective.task is None:
        expected, do = (
            "a run with a head",
            "Make one with 'usermodel finetune', or name a --label for a probe.",
        )
        raise MissingError(str(run.path), expected=expected, found="one that was only pretrained", do=do)
    trained = run.meta["store"]["content_hash"]
    if store.content_hash != trained:
        expected, found = f"the store of the run ({trained[:12]})", f"another one ({store.content_hash[:12]})"
        do = "Evaluate on the store the run was trained on."
        raise MismatchError(str(store.path), expected=expected, found=found, do=do)


def _moved(sampling: Any, source: str | os.PathLike[str]) -> Any:
    """The sampling of a run with the file of labels at another place."""
    if "file" not in type(sampling).model_fields:
        found = type(sampling).__name__
        do = "Leave it out."
        raise ConfigError("--labels", expected="a run whose labels may lie in a file", found=found, do=do)
    return sampling.override({"file": os.fspath(source)})


def trained_on(run: Run | str | os.PathLike[str], label: str, allow_modules: Sequence[str]) -> bool:
    """Whether the encoder was fine-tuned for a column, so that a probe is told of users whose answers are in its weights."""
    try:
        run = run if isinstance(run, Run) else Run.open(run, allow_modules=allow_modules)
    except (MissingError, IntegrityError):
        # A saved encoder, which does not say what it learned from.
        return False
    recipe: Recipe | None = run.recipe
    while recipe is not None:
        learned = recipe.sampling.draws_labels and not getattr(recipe.objective, "freeze", False)
        if learned and getattr(recipe.sampling, "column", None) == label:
            return True
        recipe = recipe.before()
    return False


def _classes(
    objective: AttributeHead, encoder: UserEncoder, store: SequenceStore, examples: Examples, part: str
) -> list[TaskResult]:
    assert examples.label is not None
    found = objective.estimates(encoder.module, store, examples)
    rule = f"{len(objective.head.answers)} classes; {part} users of the run's labels"
    interval = "95 % interval over users: normal approximation (delta method)"
    rows = []
    for name, one in found.items():
        low, high = one.interval()
        card = f"{classification.DEFINITIONS[name]}; {rule}; {interval}"
        rows.append(TaskResult(name, one.value, len(examples), low, high, card))
    return rows


def _choices(
    objective: UserChoice, encoder: UserEncoder, store: SequenceStore, examples: Examples, part: str
) -> list[TaskResult]:
    ranks = objective.ranks(encoder.module, store, examples)
    measured = [PerUser.of(ranks.metric(name)) for name in METRICS]
    ends = intervals(measured)
    rule = (
        f"rank of one choice among all {len(objective.head.answers):,} things, the user's other choices of all parts left out, ties "
        f"half; mean over {part} choices, so users with many weigh more; {words('bootstrap').replace('users', 'choices')}"
    )
    return [
        TaskResult(name, one.mean(), one.n, low, high, rule)
        for name, one, (low, high) in zip(METRICS, measured, ends, strict=True)
    ]
