"""A run and a store -> results of tasks on rows: a head is trained on the run's vectors, and scored."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace

from usermodel.benchmark.evaluate import require_untrained_targets
from usermodel.benchmark.score_rows import Scorer
from usermodel.embeddings.user_encoder import UserEncoder
from usermodel.encoders.encode import encode_once
from usermodel.errors import MismatchError
from usermodel.events.splits import Split
from usermodel.schema import SplitName
from usermodel.store.sequence_store import SequenceStore
from usermodel.tasks.ctr import Ctr
from usermodel.tasks.live_vectors import refuse_to_keep
from usermodel.tasks.protocol import TaskResult
from usermodel.tasks.watch_time import WatchTime
from usermodel.training.epochs import EpochReport
from usermodel.training.run import Run


def evaluate_rows(
    run: Run | str | os.PathLike[str],
    store: SequenceStore | str | os.PathLike[str],
    task: WatchTime | Ctr,
    *,
    part: SplitName = "test",
    allow_modules: Sequence[str] = (),
    on_progress: Callable[[int, int], None] | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
    on_scorer: Callable[[Scorer], None] | None = None,
) -> list[TaskResult]:
    """Train the head of a task with the user's vector before each row, and score it.

    Args:
        run: A finished run.
        store: The store it was trained on, or what that has grown into by ``append``.
        task: What to train and score; its split must be the run's, ``run.recipe.data.split``.
        part: Which rows are scored.
        allow_modules: Modules outside usermodel whose classes the run may name.
        on_progress: Called with (histories encoded, histories in all).
        on_epoch: Told after each epoch of the head.
        on_scorer: Given the trained head, to be saved; not of a task that fine-tunes, whose encoder no run has.

    Raises:
        ConfigError: ``on_scorer`` for a task that fine-tunes.
        MismatchError: Another store or split than the run's, or cuts that move as a store grows: what tests may have trained the
            encoder.
        DataError: The store has no rows for the task.
    """
    if on_scorer is not None:
        refuse_to_keep(fine_tune=task.fine_tune)
    run = run if isinstance(run, Run) else Run.open(run, allow_modules=allow_modules)
    store = store if isinstance(store, SequenceStore) else SequenceStore.open(store)
    _require_split(run, task)
    encoder = UserEncoder.load(run, allow_modules=allow_modules)
    encoder.require(store)
    require_untrained_targets(run, store)

    def keep(scorer: Scorer) -> None:
        if on_scorer is not None:
            on_scorer(replace(scorer, encoder=encoder.content_hash))

    kept = None if on_scorer is None else keep
    return score_encoder(
        encoder, store, task, part=part, on_progress=on_progress, on_epoch=on_epoch, on_scorer=kept
    )


def score_encoder(
    encoder: UserEncoder,
    store: SequenceStore,
    task: WatchTime | Ctr,
    *,
    part: SplitName = "test",
    on_progress: Callable[[int, int], None] | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
    on_scorer: Callable[[Scorer], None] | None = None,
) -> list[TaskResult]:
    """`evaluate_rows` for an encoder, whatever it was trained on."""
    module = encoder.module
    requests = task.requests(store, module.max_history, module.n_items)
    vectors = encode_once(module, store, requests, on_progress=on_progress)
    return task.score(vectors, store, part=part, encoder=module, on_epoch=on_epoch, on_scorer=on_scorer)


def _require_split(run: Run, task: WatchTime | Ctr) -> None:
    split = run.recipe.data.split
    parts = task.parts if isinstance(task, Ctr) else ""
    if task.split != split or parts:
        found = task.split.name if isinstance(task.split, Split) else task.split.kind
        found = "parts of its own" if parts else found
        do = "Give the task split=run.recipe.data.split, or pretrain with the split of the task."
        raise MismatchError("split", expected=f"that of the run, {split.kind}", found=found, do=do)
