"""The learning rate of a step: a pure function of the recipe, the step, and the number of steps planned."""

from __future__ import annotations

import math

from usermodel.training.recipe import TrainingConfig


def planned_steps(config: TrainingConfig, batches: int) -> int:
    """Steps that a run is going to take unless it stops early.

    Args:
        config: ``max_epochs`` and ``max_steps`` of it.
        batches: Steps of the first epoch; later ones have about as many.
    """
    steps = config.max_epochs * batches
    return min(steps, config.max_steps) if config.max_steps is not None else steps


def rate(config: TrainingConfig, step: int, planned: int) -> float:
    """Learning rate of the step with this number, from 0.

    With n the warm-up and N the planned steps: ``(step + 1) / n`` of the full rate in the warm-up. After it, with
    ``p = (step - n) / (N - n)`` kept within 0 and 1: ``1`` (constant), ``1 - p`` (linear), ``(1 + cos(pi p)) / 2``
    (cosine). The last planned step still learns a little; later ones do not.
    """
    warmup = config.warmup_steps
    full = config.learning_rate
    if step < warmup:
        return full * (step + 1) / warmup
    if config.schedule == "constant":
        return full
    done = min(max((step - warmup) / max(planned - warmup, 1), 0.0), 1.0)
    return full * (1.0 - done if config.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done)))
