"""A run, a store and a head that was kept -> what it says of rows to come."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from usermodel import manifest
from usermodel.embeddings.user_encoder import UserEncoder
from usermodel.encoders.encode import encode_once
from usermodel.errors import DataError, MismatchError
from usermodel.store.sequence_store import SequenceStore
from usermodel.store.table_input import read_frame
from usermodel.tasks.ctr_scorer import CtrScorer
from usermodel.tasks.rows import new_rows
from usermodel.tasks.watch_time_scorer import KIND as WATCH_TIME_HEAD
from usermodel.tasks.watch_time_scorer import WatchTimeScorer
from usermodel.training.run import Run

Scorer = CtrScorer | WatchTimeScorer


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
    requests = asked.examples(store, module.max_history, module.n_items)
    vectors = encode_once(module, store, requests, on_progress=on_progress)
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
