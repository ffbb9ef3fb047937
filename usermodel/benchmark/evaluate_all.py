"""A run and a store -> results of every task that the store has rows for."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from usermodel.benchmark.evaluate import evaluate
from usermodel.benchmark.evaluate_labels import evaluate_attribute
from usermodel.benchmark.evaluate_rows import evaluate_rows
from usermodel.errors import DataError, NumericError, nearest
from usermodel.store.sequence_store import SequenceStore
from usermodel.store.tables import side_columns
from usermodel.tasks.ctr import Ctr
from usermodel.tasks.protocol import TaskResult
from usermodel.tasks.watch_time import WatchTime
from usermodel.training.run import Run


@dataclass
class AllTasks:
    """What every task said.

    Attributes:
        results: By task: ``next-item``, ``ctr``, ``watch-time``, ``user-attribute``.
        left_out: Why others are missing: by task, or by column of the users table.
    """

    results: dict[str, list[TaskResult]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def evaluate_all(
    run: Run | str | os.PathLike[str],
    store: SequenceStore | str | os.PathLike[str],
    *,
    part: Literal["valid", "test"] = "test",
    labels: Sequence[str] = (),
    allow_modules: Sequence[str] = (),
    on_task: Callable[[str], None] | None = None,
) -> AllTasks:
    """Score all tasks with their defaults. A task without rows is left out, and said to be.

    Args:
        run: A finished run; its split decides what tests.
        store: The store it was trained on, or what that has grown into by ``append``.
        part: Which rows are scored.
        labels: Columns of the users table to probe vectors for; none means all of them.
        allow_modules: Modules outside usermodel whose classes the run may name.
        on_task: Told the name of each task before it begins.

    Raises:
        MismatchError: Another store than the run's.
        DataError: A label that is no column.
    """
    run = run if isinstance(run, Run) else Run.open(run, allow_modules=allow_modules)
    store = store if isinstance(store, SequenceStore) else SequenceStore.open(store)
    columns = _require_columns(store, labels)
    split, found = run.recipe.data.split, AllTasks()
    ways: dict[str, Callable[[], list[TaskResult]]] = {
        "next-item": lambda: evaluate(run, store, part=part, allow_modules=allow_modules),
        "ctr": lambda: evaluate_rows(run, store, Ctr(split=split), part=part, allow_modules=allow_modules),
        "watch-time": lambda: evaluate_rows(
            run, store, WatchTime(split=split), part=part, allow_modules=allow_modules
        ),
    }
    for name, way in ways.items():
        _try(found, name, name, way, on_task)
    for column in columns:
        _try(
            found,
            "user-attribute",
            column,
            lambda name=column: evaluate_attribute(run, store, name, allow_modules=allow_modules),  # type: ignore[misc]
            on_task,
        )
    return found


def _require_columns(store: SequenceStore, labels: Sequence[str]) -> Sequence[str]:
    """Those that are asked for, which must be there, or all."""
    columns = side_columns(store, "users")
    for name in labels:
        if name not in columns:
            expected, do = ", ".join(columns) or "columns of a users table", nearest(name, columns)
            raise DataError("labels", expected=expected, found=repr(name), do=do)
    return labels or columns


def _try(
    found: AllTasks,
    task: str,
    name: str,
    way: Callable[[], list[TaskResult]],
    on_task: Callable[[str], None] | None,
) -> None:
    if on_task is not None:
        on_task(task if task == name else f"{task} {name}")
    try:
        found.results.setdefault(task, []).extend(way())
    except (DataError, NumericError) as error:
        found.left_out[name] = str(error)
    if not found.results.get(task):
        found.results.pop(task, None)
