"""What the loop tells whoever watches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """Said after each step; after the last one of an epoch once it is validated.

    Attributes:
        epoch: Number of the running epoch, from 1.
        max_epochs: The most there can be.
        done: Events of the epoch done; ``total`` only once the epoch is over, its validation included.
        total: Events of the epoch.
        loss: Mean loss of the epoch so far.
        metrics: Latest validation; empty before the first.
        parts: Like ``loss``, for each named part of it.
        learning_rate: Of the latest step.
    """

    epoch: int
    max_epochs: int
    done: int
    total: int
    loss: float
    metrics: dict[str, float]
    parts: dict[str, float]
    learning_rate: float


OnProgress = Callable[[Progress], None]
