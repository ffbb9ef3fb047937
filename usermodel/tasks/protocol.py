"""What a task is: it asks for scores of some users at some moments and turns them into numbers with definitions."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol

from numpy import ndarray

from usermodel.embedding_table import Scorer
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore


@dataclass(frozen=True)
class TaskCard:
    """A task in words: its name, the question, the main metric, and whether higher is better."""

    name: str
    question: str
    main_metric: str
    higher_is_better: bool = True


@dataclass(frozen=True)
class TaskResult:
    """One metric, one row.

    Attributes:
        metric: Name, for example ``ndcg@10``.
        value: The mean.
        n: Users (or rows) behind it.
        low: Lower end of the 95 % interval over users, normal approximation; None for a single user.
        high: Upper end.
        definition: What the number means.
        n_unknown_targets: Those of the ``n`` whose target the scorer does not know.
    """

    metric: str
    value: float
    n: int
    low: float | None
    high: float | None
    definition: str
    n_unknown_targets: int = 0

    @staticmethod
    def of(metric: str, values: ndarray, definition: str, n_unknown_targets: int = 0) -> TaskResult:
        """Mean and interval of per-user values."""
        mean, n = float(values.mean()), len(values)
        half = 1.96 * float(values.std(ddof=1)) / n**0.5 if n > 1 else None
        low, high = (None, None) if half is None else (mean - half, mean + half)
        return TaskResult(metric, mean, n, low, high, definition, n_unknown_targets)

    def row(self) -> dict[str, Any]:
        """Flat plain data."""
        return asdict(self)


class Task(Protocol):
    """Which rows to score, and what the scores are worth. A task sees scorers, never a model."""

    card: TaskCard

    def requests(self, store: SequenceStore) -> Examples:
        """Histories to embed and the targets that follow them."""
        ...

    def score(self, scorer: Scorer, store: SequenceStore, labels: Examples) -> list[TaskResult]:
        """One row per metric."""
        ...
