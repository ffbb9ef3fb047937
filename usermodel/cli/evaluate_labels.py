"""Of usermodel evaluate: probes of what is known of users, and heads that were fine-tuned for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from usermodel.cli import common

if TYPE_CHECKING:
    from usermodel.store.sequence_store import SequenceStore
    from usermodel.tasks.protocol import TaskResult
    from usermodel.training.run import Run


@dataclass(frozen=True)
class WantedLabels:
    """What the command line says of labels."""

    names: Sequence[str]
    source: Path | None
    probe: Literal["linear", "mlp"]
    labelled: int | None
    scale: Literal["nominal", "ordinal", "number"]


def score_labels(
    run: Run,
    store: SequenceStore,
    task: str,
    wanted: WantedLabels,
    part: Literal["test", "valid"],
    allowed: Sequence[str],
) -> list[TaskResult]:
    """The probe of each column, or else the head."""
    from usermodel.benchmark.evaluate_labels import evaluate_attribute, evaluate_head
    from usermodel.errors import ConfigError
    from usermodel.tasks.user_attribute import UserAttribute

    if wanted.names:
        found = []
        for name in wanted.names:
            with common.progress("encoding", "users") as update:
                asked = UserAttribute(
                    name, wanted.source, probe=wanted.probe, labelled=wanted.labelled, scale=wanted.scale
                )
                found += evaluate_attribute(run, store, asked, allow_modules=allowed, on_progress=update)
        return found
    answered = run.recipe.objective.task
    if answered not in (None, task):
        do, found_task = f"Choose --task {answered}.", f"one for {answered}"
        raise ConfigError("--task", expected=f"a run with a head for {task}", found=found_task, do=do)
    return evaluate_head(run, store, part=part, source=wanted.source, allow_modules=allowed)
