"""usermodel evaluate"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from usermodel.cli import common


def evaluate(
    run: common.RunPath,
    store: common.StorePath,
    task: Annotated[Literal["next-item"], typer.Option(help="What to score.")] = "next-item",
    part: Annotated[
        Literal["test", "valid"], typer.Option(help="Which targets of the run's split.")
    ] = "test",
    json_out: Annotated[
        Path | None,
        typer.Option("--json", help="Also write the scores, counts and definitions to this file."),
    ] = None,
    allow_module: common.AllowModule = None,
) -> None:
    """Score a run: full ranking over all items, seen ones excluded, with intervals and definitions."""
    from usermodel.benchmark.evaluate import evaluate as score
    from usermodel.benchmark.evaluate import facts, flat
    from usermodel.store.sequence_store import SequenceStore
    from usermodel.training.run import Run

    allowed = allow_module or []
    opened, finished = SequenceStore.open(store, verify=True), Run.open(run, allow_modules=allowed)
    with common.progress("encoding", "users") as update:
        found = score(finished, opened, part=part, allow_modules=allowed, on_progress=update)
    rows = [(one.metric, one.value, _interval(one.low, one.high), one.n) for one in found]
    common.print_table(f"{task}, {part} targets", ["metric", "value", "95 % interval", "users"], rows)
    common.say(found[0].definition.partition("; ")[2])
    if unknown := found[0].n_unknown_targets:
        common.say(f"{unknown:,} of {found[0].n:,} targets are items that the run does not know")
    if json_out is not None:
        _write(json_out, flat(found, task=task, split=part, **facts(finished, opened)))


def _interval(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{low:.4f} - {high:.4f}"


def _write(path: Path, data: dict[str, Any]) -> None:
    from usermodel.manifest import write_text

    write_text(path, json.dumps(data, indent=1) + "\n")
    common.say(f"wrote {path}")
