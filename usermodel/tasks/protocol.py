"""What a task is: it asks for scores of some users at some moments and turns them into numbers with definitions."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol

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
        value: The mean over users, unless the definition says otherwise.
        n: Users (or rows) behind it.
        low: Lower end of the 95 % interval over users; None for a single user, or where the definition says so.
        high: Upper end.
        definition: What the number means.
        n_unknown_targets: Users whose target the scorer does not know.
        by: What the users were grouped by; empty for all users.
        group: Which group: a range of what the users were grouped by.
    """

    metric: str
    value: float
    n: int
    low: float | None
    high: float | None
    definition: str
    n_unknown_targets: int = 0
    by: str = ""
    group: str = ""

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
