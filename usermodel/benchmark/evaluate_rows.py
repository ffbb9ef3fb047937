"""A run and a store -> results of tasks on rows: a head is trained on the run's frozen vectors, and scored; and what it says of new rows."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float32
from numpy import ndarray

from usermodel import manifest
from usermodel.benchmark.evaluate import require_untrained_targets
from usermodel.embeddings.user_encoder import UserEncoder
from usermodel.encoders.encode import encode
from usermodel.errors import ConfigError, DataError, MismatchError
from usermodel.events.splits import Split
from usermodel.sampling.protocol import Examples
from usermodel.schema import SplitName
from usermodel.store.sequence_store import SequenceStore
from usermodel.store.table_input import read_frame
from usermodel.tasks.ctr import Ctr
from usermodel.tasks.ctr_scorer import CtrScorer
from usermodel.tasks.protocol import TaskResult
from usermodel.tasks.rows import new_rows
from usermodel.tasks.watch_time import WatchTime
from usermodel.tasks.watch_time_scorer import KIND as WATCH_TIME_HEAD
from usermodel.tasks.watch_time_scorer import WatchTimeScorer
from usermodel.training.epochs import EpochReport
from usermodel.training.run import Run

Scorer = CtrScorer | WatchTimeScorer


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
    if task.fine_tune and on_scorer is not None:
        do = "Keep a head on the vectors as they are."
        raise ConfigError("fine_tune", expected="a head that is not kept", found="one that is", do=do)
    run = run if isinstance(run, Run) else Run.open(run, allow_modules=allow_modules)
    store = store if isinstance(store, SequenceStore) else SequenceStore.open(store)
    _require_split(run, task)
    encoder = UserEncoder.load(run, allow_modules=allow_modules)
    encoder.require(store)
    require_untrained_targets(run, store)
    module = encoder.module
    requests = task.requests(store, module.max_history, module.n_items)
    vectors = _encoded(encoder, store, requests, on_progress)

    def keep(scorer: Scorer) -> None:
        if on_scorer is not None:
            on_scorer(replace(scorer, encoder=encoder.content_hash))

    kept = None if on_scorer is None else keep
    return task.score(vectors, store, part=part, encoder=module, on_epoch=on_epoch, on_scorer=kept)


def score_rows(
    run: Run | str | os.PathLike[str],
    store: SequenceStore | str | os.PathLike[str],
    scorer: Scorer,
    rows: Any,
    *,
    allow_modules: Sequence[str] = (),
    on_progress: Callable[[int, int], None] | None = None,
) -> pl.DataFrame:
    """What a head says of rows to come, from what their users did strictly before.

    Args:
        run: The run whose vectors the head was trained with.
        store: Has the users and their events; what the run's store has grown into, or any other with its items.
        scorer: The trained head.
        rows: A frame, or the path of a Parquet or CSV file: ``user_id item_id timestamp``, and the columns that the head reads.
        allow_modules: Modules outside usermodel whose classes the run may name.
        on_progress: Called with (histories encoded, histories in all).

    Returns:
        The rows as they are, with a column more: ``probability``, ``watch_time_s`` or ``watch_ratio``.

    Raises:
        MismatchError: Another run than the head's, or a store of other items than the run's.
        DataError: A column that is missing, users that the store does not have, or rows that have that column already.
    """
    given = read_frame(rows, scorer.features.text)
    if scorer.column in given.columns:
        do = "Rename or drop it."
        raise DataError("rows", expected=f"no column {scorer.column!r}", found="one", do=do)
    store = store if isinstance(store, SequenceStore) else SequenceStore.open(store)
    encoder = UserEncoder.load(run, allow_modules=allow_modules)
    if scorer.encoder != encoder.content_hash:
        expected = f"the run of encoder {scorer.encoder[:12] or '(none)'}, whose vectors the head reads"
        do = "Name the run that the head was trained with."
        raise MismatchError("run", expected=expected, found=encoder.content_hash[:12], do=do)
    encoder.require(store)
    asked = new_rows(store, given)
    module = encoder.module
    vectors = _encoded(encoder, store, asked.examples(store, module.max_history, module.n_items), on_progress)
    return given.with_columns(pl.Series(scorer.column, scorer.predict(store, asked, vectors)))


def load_scorer(path: str | os.PathLike[str], *, allow_modules: Sequence[str] = ()) -> Scorer:
    """A saved head, whatever it predicts.

    Raises:
        MissingError: None there.
        IntegrityError: Damaged files, or a folder of another kind.
    """
    kind = manifest.read(Path(path)).kind
    loader = WatchTimeScorer if kind == WATCH_TIME_HEAD else CtrScorer
    return loader.load(path, allow_modules=allow_modules)


def _require_split(run: Run, task: WatchTime | Ctr) -> None:
    split = run.recipe.data.split
    parts = task.parts if isinstance(task, Ctr) else ""
    if task.split != split or parts:
        found = task.split.name if isinstance(task.split, Split) else task.split.kind
        found = f"column {parts!r}" if parts else found
        do = "Give the task split=run.recipe.data.split, or pretrain with the split of the task."
        raise MismatchError("split", expected=f"that of the run, {split.kind}", found=found, do=do)


def _encoded(
    encoder: UserEncoder,
    store: SequenceStore,
    requests: Examples,
    on_progress: Callable[[int, int], None] | None,
) -> Float32[ndarray, "rows dim"]:
    """A vector for each request. Rows between two events of a user have the same history: it is encoded once."""
    _, first, row = np.unique(
        requests.stop * store.n_users + requests.user, return_index=True, return_inverse=True
    )
    found: ndarray = encode(encoder.module, store, requests.take(first), on_progress=on_progress)[row]
    return found
