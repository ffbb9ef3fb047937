"""The learning rate of a step: a pure function of the recipe, the step, the number of steps planned, and of drops so far."""

from __future__ import annotations

import math
from typing import Final

from usermodel.errors import ConfigError
from usermodel.training.checkpoint import State
from usermodel.training.recipe import TrainingConfig

#: Schedules that depend on how many steps are planned.
PLANNED: Final = frozenset({"cosine", "linear"})
#: Of ``plateau``, where the recipe names no others: what a drop multiplies the rate by, and how many drops there are.
FACTOR: Final = 0.2
DROPS: Final = 2


def require_effect(config: TrainingConfig) -> None:
    """Raise `ConfigError` if options of ``plateau`` are set and the schedule is another one, or nothing tells it when to fall.

    Not when the recipe is made: its keys may be assigned one after another, in any order.
    """
    for name in ("plateau_factor", "plateau_drops"):
        value = getattr(config, name)
        if value is not None and config.schedule != "plateau":
            expected, found = "no value without schedule=plateau", f"{value} with schedule={config.schedule}"
            do = "Drop it, or set training.schedule=plateau."
            raise ConfigError(f"training.{name}", expected=expected, found=found, do=do)
    if config.schedule == "plateau" and config.monitor == "none":
        expected, do = "a metric for schedule=plateau", "Choose one, or schedule=cosine."
        raise ConfigError("training.monitor", expected=expected, found="none", do=do)


def planned_steps(config: TrainingConfig, batches: int) -> int:
    """Steps that a run is going to take unless it stops early.

    Args:
        config: ``max_epochs`` and ``max_steps`` of it.
        batches: Steps of the first epoch; later ones have about as many.
    """
    steps = config.max_epochs * batches
    return min(steps, config.max_steps) if config.max_steps is not None else steps


def count(config: TrainingConfig, state: State, value: float) -> None:
    """Take note of a validation, before its value may become the best one.

    Unless it exceeds the best one by ``min_improvement`` of it, it counts against ``patience``; when that is used up,
    ``plateau`` spends a drop, if one is left. PyTorch's ReduceLROnPlateau waits for one more than its ``patience``, and
    compares with the last value that counted as better rather than with the best one.
    """
    if state.best is None or value > state.best + config.min_improvement * abs(state.best):
        state.bad = 0
        return
    state.bad += 1
    drops = config.plateau_drops or DROPS
    if config.schedule == "plateau" and state.bad >= config.patience and state.drops < drops:
        state.bad, state.drops = 0, state.drops + 1


def rate(config: TrainingConfig, step: int, planned: int, drops: int = 0) -> float:
    """Learning rate of the step with this number, from 0.

    With n the warm-up and N the planned steps: ``(step + 1) / n`` of the full rate in the warm-up. After it, with
    ``p = (step - n) / (N - n)`` kept within 0 and 1: ``1`` (constant), ``1 - p`` (linear), ``(1 + cos(pi p)) / 2``
    (cosine). The last planned step still learns a little; later ones do not. With plateau the full rate itself, that of the
    warm-up too, is ``factor ** drops`` times the recipe's.
    """
    warmup = config.warmup_steps
    full = config.learning_rate * (config.plateau_factor or FACTOR) ** drops
    if step < warmup:
        return full * (step + 1) / warmup
    if config.schedule not in PLANNED:
        return full
    done = min(max((step - warmup) / max(planned - warmup, 1), 0.0), 1.0)
    return full * (1.0 - done if config.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done)))
