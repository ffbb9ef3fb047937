"""All tasks of a run, beside what needs no pretraining and beside other runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

from usermodel.baselines.history_statistics import HistoryStatistics
from usermodel.baselines.mean_of_items import mean_of_items
from usermodel.baselines.popularity import Popularity
from usermodel.baselines.untrained import untrained
from usermodel.benchmark.evaluate import evaluate_encoder, require_untrained_targets
from usermodel.benchmark.evaluate_all import (
    AllTasks,
    Asked,
    Ways,
    require_columns,
    score_ways,
    ways_of_run,
)
from usermodel.benchmark.evaluate_labels import probe_encoder
from usermodel.benchmark.evaluate_rows import score_encoder
from usermodel.embedding_table import EmbeddingTable
from usermodel.embeddings.user_encoder import UserEncoder
from usermodel.errors import ConfigError, MismatchError
from usermodel.events.splits import Split
from usermodel.schema import SplitName
from usermodel.store.sequence_store import SequenceStore
from usermodel.tasks.ctr import Ctr
from usermodel.tasks.next_item import NextItem
from usermodel.tasks.protocol import TaskResult
from usermodel.tasks.user_attribute import UserAttribute
from usermodel.tasks.watch_time import WatchTime
from usermodel.training.run import Run

#: What is scored beside a run, and what it is.
BASELINES: Final = {
    "no vectors": "the same heads without a user's vector; attributes and next items have none",
    "statistics": "lengths, popularity, times and other statistics of a history as the vector; next items by popularity among all of the store",
    "mean of items": "the mean of the item vectors of a history, by the item table of the run",
    "no pretraining": "the encoder of the run before its first step",
}


def evaluate_beside(
    runs: Mapping[str, Run],
    store: SequenceStore | str | os.PathLike[str],
    *,
    part: Literal["valid", "test"] = "test",
    labels: Sequence[str] = (),
    on_rows: Sequence[Ctr | WatchTime] | None = None,
    allow_modules: Sequence[str] = (),
    on_task: Callable[[str], None] | None = None,
) -> dict[str, AllTasks]:
    """Score runs on all tasks, and beside them `BASELINES`: the same heads, probes and rows. Arguments are those of `evaluate_all`.

    Args:
        runs: By the names they are to have; the first is the one whose encoder and items the baselines take.
        store: The store they were trained on, or what that has grown into by ``append``.
        part: Which rows are scored.
        labels: Columns of the users table.
        on_rows: Tasks on rows.
        allow_modules: Modules outside usermodel whose classes a run may name.
        on_task: Told whose task begins, and which.

    Returns:
        The runs in their order, then the baselines.

    Raises:
        ConfigError: No run, or one with the name of a baseline; tasks on rows that are not alike.
        MismatchError: Runs of several splits, or another store.
        DataError: A label that is no column.
    """
    store = store if isinstance(store, SequenceStore) else SequenceStore.open(store)
    first, encoder = _require_alike(runs, store, allow_modules)
    asked = Asked(first.recipe.data.split, part, require_columns(store, labels), on_rows)
    ways = {name: ways_of_run(run, store, part, allow_modules) for name, run in runs.items()}
    ways |= _baselines(first, encoder, store, part)

    def tell(name: str) -> Callable[[str], None] | None:
        return None if on_task is None else lambda task: on_task(f"{name}: {task}")

    return {name: score_ways(one, asked, tell(name)) for name, one in ways.items()}


def _baselines(run: Run, encoder: UserEncoder, store: SequenceStore, part: SplitName) -> dict[str, Ways]:
    return {
        "no vectors": Ways(None, lambda task: task.score(None, store, part=part), None),
        "statistics": _statistics(store, store.split(run.recipe.data.split), part),
        "mean of items": _of_encoder(mean_of_items(encoder), store, part),
        "no pretraining": _of_encoder(untrained(run, encoder), store, part),
    }


def _require_alike(
    runs: Mapping[str, Run], store: SequenceStore, allow_modules: Sequence[str]
) -> tuple[Run, UserEncoder]:
    """The first of some runs of one store and one split, and its encoder; none has the name of a baseline."""
    if not runs:
        raise ConfigError("runs", expected="one at least", found="none", do="Name a finished run.")
    for name in BASELINES.keys() & runs.keys():
        found, do = f"a run named {name!r}", "Give it another name."
        raise ConfigError("runs", expected="other names than those of the baselines", found=found, do=do)
    first = next(iter(runs.items()))
    # Before hours are spent on some of them.
    encoders = [UserEncoder.load(run, allow_modules=allow_modules) for run in runs.values()]
    for (name, run), encoder in zip(runs.items(), encoders, strict=True):
        encoder.require(store)
        require_untrained_targets(run, store)
        if run.recipe.data.split != first[1].recipe.data.split:
            expected = f"the split of {first[0]}, {first[1].recipe.data.split}"
            do = "Pretrain it with the same split: other rows would test it."
            raise MismatchError(
                f"split of {name}", expected=expected, found=f"{run.recipe.data.split}", do=do
            )
    return first[1], encoders[0]


def _of_encoder(encoder: UserEncoder, store: SequenceStore, part: SplitName) -> Ways:
    return Ways(
        lambda task: evaluate_encoder(encoder, store, task),
        lambda task: score_encoder(encoder, store, task, part=part),
        lambda task: probe_encoder(encoder, store, task),
    )


def _statistics(store: SequenceStore, split: Split, part: SplitName) -> Ways:
    statistics = HistoryStatistics.fit(store, split)

    def next_item(task: NextItem) -> list[TaskResult]:
        requests = task.requests(store)
        return task.score(Popularity.fit(store, split, requests), store, requests)

    def rows(task: Ctr | WatchTime) -> list[TaskResult]:
        return task.score(statistics.vectors(store, task.requests(store, store.n_events)), store, part=part)

    def attribute(task: UserAttribute) -> list[TaskResult]:
        requests = task.requests(store)
        ids = store.users.decode(requests.user + 1).alias("user_id")
        return task.score(EmbeddingTable(ids, statistics.vectors(store, requests), "statistics"), store)

    return Ways(next_item, rows, attribute)
