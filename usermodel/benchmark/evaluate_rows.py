"""A run and a store -> results of tasks whose rows are events: a head is trained on the run's frozen vectors, and scored."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from usermodel.benchmark.evaluate import require_untrained_targets
from usermodel.embeddings.user_encoder import UserEncoder
from usermodel.encoders.encode import encode
from usermodel.schema import SplitName
from usermodel.store.sequence_store import SequenceStore
from usermodel.tasks.protocol import TaskResult
from usermodel.tasks.watch_time import WatchTime
from usermodel.training.fit_rows import RowsEpoch
from usermodel.training.run import Run


def evaluate_watch_time(
    run: Run | str | os.PathLike[str],
    store: SequenceStore | str | os.PathLike[str],
    task: WatchTime | None = None,
    *,
    part: SplitName = "test",
    allow_modules: Sequence[str] = (),
    on_progress: Callable[[int, int], None] | None = None,
    on_epoch: Callable[[RowsEpoch], None] | None = None,
) -> list[TaskResult]:
    """Train a watch-time head on the training part of the run's split, with the user's vector before each event, and score it.

    Args:
        run: A finished run; give its split to the task, or leave the task out, so that nothing that tests has trained the encoder.
        store: The store it was trained on, or what that has grown into by ``append``.
        task: What to train; None means `WatchTime` with the run's split.
        part: Which rows are scored.
        allow_modules: Modules outside usermodel whose classes the run may name.
        on_progress: Called with (histories encoded, histories in all).
        on_epoch: Told after each epoch of the head.

    Raises:
        MismatchError: Another store, or cuts that move as a store grows.
        DataError: See `WatchTime.rows`.
    """
    run = run if isinstance(run, Run) else Run.open(run, allow_modules=allow_modules)
    store = store if isinstance(store, SequenceStore) else SequenceStore.open(store)
    task = task or WatchTime(split=run.recipe.data.split)
    encoder = UserEncoder.load(run, allow_modules=allow_modules)
    encoder.require(store)
    require_untrained_targets(run, store)
    module = encoder.module
    requests = task.requests(store, module.max_history, module.n_items)
    vectors = encode(module, store, requests, on_progress=on_progress)
    return task.score(vectors, store, part=part, on_epoch=on_epoch)
