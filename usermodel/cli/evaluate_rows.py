"""Of usermodel evaluate: tasks whose rows are events or impressions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from usermodel.cli import common

if TYPE_CHECKING:
    from usermodel.benchmark.score_rows import Scorer
    from usermodel.store.sequence_store import SequenceStore
    from usermodel.tasks.ctr import Ctr
    from usermodel.tasks.protocol import TaskResult
    from usermodel.tasks.watch_time import WatchTime
    from usermodel.training.run import Run


@dataclass(frozen=True)
class Wanted:
    """What the command line says of a head; None where it says nothing. ``out``: the folder it goes to, and whether an older one may."""

    task: str
    head: str | None
    features: tuple[str, ...]
    target: Literal["seconds", "ratio"] | None = None
    label: str | None = None
    calibration: Literal["none", "platt", "isotonic"] | None = None
    changes: Sequence[str] = ()
    out: tuple[Path, bool] | None = None
    fine_tune: bool = False


def score_rows(
    run: Run, store: SequenceStore, wanted: Wanted, part: Literal["test", "valid"], allowed: Sequence[str]
) -> list[TaskResult]:
    """Train the head on the run's vectors and score it; with ``out`` also write it.

    Raises:
        OutputExistsError: There is one, and it may not go.
    """
    from usermodel.benchmark.evaluate_rows import evaluate_rows
    from usermodel.manifest import refuse_existing
    from usermodel.tasks.ctr_scorer import KIND as CTR_HEAD
    from usermodel.tasks.watch_time_scorer import KIND as WATCH_TIME_HEAD

    if wanted.out is not None:
        kind = CTR_HEAD if wanted.task == "ctr" else WATCH_TIME_HEAD
        refuse_existing(wanted.out[0], kind, wanted.out[1])

    def keep(scorer: Scorer) -> None:
        if wanted.out is not None:
            scorer.save(wanted.out[0], overwrite=wanted.out[1])
            common.say(f"wrote {wanted.out[0]}")

    task = _ctr(run, wanted) if wanted.task == "ctr" else _watch_time(run, wanted)
    if wanted.features:
        task = dataclasses.replace(task, features=wanted.features)
    task = dataclasses.replace(_changed(task, wanted.changes), fine_tune=wanted.fine_tune)
    with common.progress("encoding", "histories") as update:
        return evaluate_rows(
            run,
            store,
            task,
            part=part,
            allow_modules=allowed,
            on_progress=update,
            on_scorer=None if wanted.out is None else keep,
        )


def _watch_time(run: Run, wanted: Wanted) -> WatchTime:
    from usermodel.heads.catalog import find_head
    from usermodel.heads.watch_time import WatchTimeConfig
    from usermodel.heads.watch_time_model import WatchTimeModelConfig
    from usermodel.tasks.watch_time import WatchTime

    head = find_head(wanted.head or "value-regression", WatchTimeConfig)  # type: ignore[type-abstract]
    model = WatchTimeModelConfig(head=head)
    return WatchTime(model=model, target=wanted.target or "seconds", split=run.recipe.data.split)


def _ctr(run: Run, wanted: Wanted) -> Ctr:
    from usermodel.heads.catalog import find_head
    from usermodel.heads.ctr import CtrConfig
    from usermodel.schema import CLICKED
    from usermodel.tasks.ctr import Ctr

    return Ctr(
        model=find_head(wanted.head or "deepfm", CtrConfig),  # type: ignore[type-abstract]
        label=wanted.label or CLICKED,
        split=run.recipe.data.split,
        calibration=wanted.calibration or "none",
    )


def _changed(task: WatchTime | Ctr, changes: Sequence[str]) -> WatchTime | Ctr:
    """With ``model.KEY`` and ``fit.KEY`` set."""
    from usermodel.errors import ConfigError, nearest
    from usermodel.recipes.catalog import parse_assignments

    groups = ("model", "fit")
    of_groups: dict[str, dict[str, object]] = {group: {} for group in groups}
    for key, value in parse_assignments(changes).items():
        group, _, name = key.partition(".")
        if group not in groups or not name:
            do = nearest(group, groups)
            raise ConfigError(f"--set {key}", expected="model.KEY or fit.KEY", found=repr(key), do=do)
        of_groups[group][name] = value
    changed: dict[str, Any] = {group: getattr(task, group).override(new) for group, new in of_groups.items()}
    return dataclasses.replace(task, **changed)
