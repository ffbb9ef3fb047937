"""A run and a store -> results of tasks on rows: a head is trained on the run's frozen vectors, and scored."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np

from usermodel.benchmark.evaluate import require_untrained_targets
from usermodel.embeddings.user_encoder import UserEncoder
from usermodel.encoders.encode import encode
from usermodel.errors import MismatchError
from usermodel.schema import SplitName
from usermodel.store.sequence_store import SequenceStore
from usermodel.tasks.ctr import Ctr
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

    Raises:
        MismatchError: Another store or split than the run's, or cuts that move as a store grows: what tests may have trained the
            encoder.
        DataError: The store has no rows for the task.
    """
    run = run if isinstance(run, Run) else Run.open(run, allow_modules=allow_modules)
    store = store if isinstance(store, SequenceStore) else SequenceStore.open(store)
    split = run.recipe.data.split
    if task.split != split:
        found = task.split.name if not hasattr(task.split, "kind") else task.split.kind
        do = "Give the task split=run.recipe.data.split, or pretrain with the split of the task."
        raise MismatchError("split", expected=f"that of the run, {split.kind}", found=found, do=do)
    encoder = UserEncoder.load(run, allow_modules=allow_modules)
    encoder.require(store)
    require_untrained_targets(run, store)
    module = encoder.module
    requests = task.requests(store, module.max_history, module.n_items)
    # Rows between two events of a user have the same history: what was shown together is encoded once.
    _, first, row = np.unique(
        requests.stop * store.n_users + requests.user, return_index=True, return_inverse=True
    )
    vectors = encode(module, store, requests.take(first), on_progress=on_progress)[row]
    return task.score(vectors, store, part=part, on_epoch=on_epoch)
