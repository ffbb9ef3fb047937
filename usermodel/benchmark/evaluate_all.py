"""A run and a store -> results of every task that the store has rows for."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Literal

from usermodel.benchmark.evaluate import evaluate
from usermodel.benchmark.evaluate_labels import evaluate_attribute, trained_on
from usermodel.benchmark.evaluate_rows import evaluate_rows
from usermodel.errors import ConfigError, DataError, NumericError, nearest
from usermodel.events.splits import SplitConfig
from usermodel.store.sequence_store import SequenceStore
from usermodel.store.tables import side_columns
from usermodel.tasks import ctr, next_item, user_attribute, watch_time
from usermodel.tasks.ctr import Ctr
from usermodel.tasks.next_item import NextItem
from usermodel.tasks.protocol import TaskResult
from usermodel.tasks.user_attribute import UserAttribute
from usermodel.tasks.watch_time import WatchTime
from usermodel.training.run import Run

#: The metric that speaks for each task; that of an attribute follows its column.
MAIN: Final = {
    card.name: card.main_metric for card in (next_item.CARD, ctr.CARD, watch_time.CARD, user_attribute.CARD)
}


@dataclass
class AllTasks:
    """What every task said.

    Attributes:
        results: By task: ``next-item``, ``ctr``, ``watch-time``, ``user-attribute``.
        left_out: Why others are missing: by task, or by column of the users table.
    """

    results: dict[str, list[TaskResult]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def main(self) -> dict[str, TaskResult]:
        """The result that speaks for each task, and for each column of the users table: ``ctr``, ``user-attribute gender``."""
        found: dict[str, TaskResult] = {}
        for task, rows in self.results.items():
            for row in rows:
                column, _, metric = row.metric.rpartition("/")
                if metric == MAIN[task] and not row.by:
                    found[f"{task} {column}".strip()] = row
        return found


def by_question(compared: Mapping[str, AllTasks]) -> dict[str, dict[str, TaskResult]]:
    """`AllTasks.main` of several, by question: whoever answers it, by name."""
    found: dict[str, dict[str, TaskResult]] = {}
    for name, tasks in compared.items():
        for question, row in tasks.main().items():
            found.setdefault(question, {})[name] = row
    return found


def title(question: str, row: TaskResult) -> str:
    """Of a question of `AllTasks.main`: task and metric; the metric of an attribute names its column."""
    return row.metric if "/" in row.metric else f"{question} {row.metric}"


@dataclass(frozen=True)
class Ways:
    """How some vectors are scored on each task; None where they cannot be.

    Attributes:
        next_item: On items that users took next.
        rows: On clicks and watch times.
        attribute: On a column of the users table.
    """

    next_item: Callable[[NextItem], list[TaskResult]] | None
    rows: Callable[[Ctr | WatchTime], list[TaskResult]]
    attribute: Callable[[UserAttribute], list[TaskResult]] | None


@dataclass(frozen=True)
class Asked:
    """What is scored, whatever the vectors.

    Attributes:
        split: Of the rows.
        part: Of the split.
        columns: Of the users table.
        on_rows: Tasks on rows; None for the defaults.
    """

    split: SplitConfig
    part: Literal["valid", "test"]
    columns: Sequence[str]
    on_rows: Sequence[Ctr | WatchTime] | None = None

    def __post_init__(self) -> None:
        tasks = self.tasks()
        kinds = [one.card.name for one in tasks]
        if len(set(kinds)) < len(kinds) or any(one.split != self.split or one.fine_tune for one in tasks):
            expected = "one task of a kind, with the split of the run and frozen vectors"
            found, do = ", ".join(kinds), "Score others by evaluate_rows."
            raise ConfigError("on_rows", expected=expected, found=found, do=do)

    def tasks(self) -> Sequence[Ctr | WatchTime]:
        """Tasks on rows."""
        return (Ctr(split=self.split), WatchTime(split=self.split)) if self.on_rows is None else self.on_rows


def evaluate_all(
    run: Run | str | os.PathLike[str],
    store: SequenceStore | str | os.PathLike[str],
    *,
    part: Literal["valid", "test"] = "test",
    labels: Sequence[str] = (),
    on_rows: Sequence[Ctr | WatchTime] | None = None,
    allow_modules: Sequence[str] = (),
    on_task: Callable[[str], None] | None = None,
) -> AllTasks:
    """Score all tasks with their defaults. A task without rows is left out, and said to be.

    Args:
        run: A finished run; its split decides what tests.
        store: The store it was trained on, or what that has grown into by ``append``.
        part: Which rows are scored.
        labels: Columns of the users table to probe vectors for; none means all of them.
        on_rows: Tasks on rows, one of a kind, with the split of the run and frozen vectors; None means clicks on impressions, and watch time in seconds.
        allow_modules: Modules outside usermodel whose classes the run may name.
        on_task: Told the name of each task before it begins.

    Raises:
        MismatchError: Another store than the run's.
        DataError: A label that is no column.
        ConfigError: Tasks on rows that are not alike, see ``on_rows``.
    """
    run = run if isinstance(run, Run) else Run.open(run, allow_modules=allow_modules)
    store = store if isinstance(store, SequenceStore) else SequenceStore.open(store)
    asked = Asked(run.recipe.data.split, part, require_columns(store, labels), on_rows)
    return score_ways(ways_of_run(run, store, part, allow_modules), asked, on_task)


def ways_of_run(
    run: Run, store: SequenceStore, part: Literal["valid", "test"], allow_modules: Sequence[str]
) -> Ways:
    """How the vectors of a run are scored; attributes that it was fine-tuned for are none of them."""

    def attribute(task: UserAttribute) -> list[TaskResult]:
        if trained_on(run, task.label, allow_modules):
            expected, found = "vectors that do not know the answers", "some that were fine-tuned on it"
            do = "Score the head of the run: --task user-attribute without --label."
            raise DataError(f"column {task.label!r}", expected=expected, found=found, do=do)
        return evaluate_attribute(run, store, task, allow_modules=allow_modules)

    return Ways(
        lambda task: evaluate(run, store, part=task.part, allow_modules=allow_modules),
        lambda task: evaluate_rows(run, store, task, part=part, allow_modules=allow_modules),
        attribute,
    )


def score_ways(ways: Ways, asked: Asked, on_task: Callable[[str], None] | None) -> AllTasks:
    """Score all tasks in some ways."""
    found = AllTasks()

    def attempt(task: str, column: str, way: Callable[[], list[TaskResult]]) -> None:
        if on_task is not None:
            on_task(f"{task} {column}".strip())
        try:
            found.results[task] = found.results.get(task, []) + way()
        except (DataError, NumericError) as error:
            found.left_out[column or task] = str(error)

    if (of_items := ways.next_item) is not None:
        attempt("next-item", "", lambda: of_items(NextItem(part=asked.part, split=asked.split)))
    for one in asked.tasks():
        attempt(one.card.name, "", partial(ways.rows, one))
    if (of_users := ways.attribute) is not None:
        for column in asked.columns:
            attempt("user-attribute", column, partial(of_users, UserAttribute(column)))
    return found


def require_columns(store: SequenceStore, labels: Sequence[str]) -> Sequence[str]:
    """Those that are asked for, which must be there, or all.

    Raises:
        DataError: One is not.
    """
    columns = side_columns(store, "users")
    for name in labels:
        if name not in columns:
            expected, do = ", ".join(columns) or "columns of a users table", nearest(name, columns)
            raise DataError("labels", expected=expected, found=repr(name), do=do)
    return labels or columns
