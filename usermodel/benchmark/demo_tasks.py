"""Of the demo: what the vectors are for beside the next item. Clicks, watch time and what is known of users, without vectors and with."""

from __future__ import annotations

from dataclasses import dataclass

from usermodel.benchmark.evaluate_labels import evaluate_attribute
from usermodel.benchmark.evaluate_rows import evaluate_rows
from usermodel.heads.d2q import D2qConfig
from usermodel.heads.deepfm import DeepfmConfig
from usermodel.heads.watch_time_model import WatchTimeModelConfig
from usermodel.store.sequence_store import SequenceStore
from usermodel.tasks.ctr import Ctr
from usermodel.tasks.protocol import TaskResult
from usermodel.tasks.watch_time import WatchTime
from usermodel.training.fit_rows import FitRowsConfig
from usermodel.training.run import Run

#: A column of the simulated users.
ATTRIBUTE = "device"
_FIT = FitRowsConfig(epochs=2, batch_rows=1024, learning_rate=2e-3)


@dataclass(frozen=True)
class TaskGain:
    """One metric of one task.

    Attributes:
        task: ``ctr``, ``watch-time`` or ``user-attribute``.
        metric: Its name.
        without: Of the same head without user vectors; of an attribute, of always naming the most frequent class.
        with_vectors: With them.
    """

    task: str
    metric: str
    without: TaskResult
    with_vectors: TaskResult


def other_tasks(run: Run, store: SequenceStore) -> list[TaskGain]:
    """Small heads, trained in seconds, on what the item says and on the user's vector."""
    split = run.recipe.data.split
    ctr = Ctr(model=DeepfmConfig(dim=8, hidden=(64, 32)), fit=_FIT, split=split, features=("item_id",))
    watching = WatchTime(
        model=WatchTimeModelConfig(head=D2qConfig(), dim=8, hidden=(64, 32)),
        fit=_FIT,
        split=split,
        features=("item_id", "duration"),
    )
    found = []
    for task, metric in ((ctr, "auc"), (watching, "xauc")):
        without, with_vectors = (
            next(row for row in rows if row.metric == metric and not row.by)
            for rows in (task.score(None, store), evaluate_rows(run, store, task))
        )
        found.append(TaskGain(task.card.name, metric, without, with_vectors))
    probe = {row.metric: row for row in evaluate_attribute(run, store, ATTRIBUTE)}
    accuracy, majority = probe[f"{ATTRIBUTE}/accuracy"], probe[f"{ATTRIBUTE}/majority"]
    return [*found, TaskGain("user-attribute", f"{ATTRIBUTE}/accuracy", majority, accuracy)]
