"""usermodel evaluate"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from usermodel.cli import common

if TYPE_CHECKING:
    from usermodel.metrics.groups import By
    from usermodel.tasks.next_item import NextItemOptions
    from usermodel.tasks.protocol import TaskResult


def evaluate(
    run: common.RunPath,
    store: common.StorePath,
    task: Annotated[Literal["next-item"], typer.Option(help="What to score.")] = "next-item",
    part: Annotated[
        Literal["test", "valid"], typer.Option(help="Which targets of the run's split.")
    ] = "test",
    metrics: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="With commas: hit@K recall@K ndcg@K map@K mrr@K mrr auc gauc, and of lists, which score everything once more: "
            "coverage@K novelty@K arp@K popularity_bias@K.",
            show_default="hit@5,ndcg@5,hit@10,ndcg@10,hit@20,ndcg@20,mrr",
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="With a comma: history-length, popularity. Also score groups of users, by how long their history is or how "
            "popular their target is.",
        ),
    ] = None,
    as_: Annotated[
        Literal["recbole", "rectools", "bars"] | None,
        typer.Option("--as", help="Use the definitions of this tool instead of ours."),
    ] = None,
    interval: Annotated[
        Literal["bootstrap", "normal"], typer.Option(help="How 95 % intervals over users are made.")
    ] = "bootstrap",
    index: Annotated[
        Path | None,
        typer.Option(
            help="An index of the run's items: how much of the exact best it finds for these users."
        ),
    ] = None,
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
    options: NextItemOptions = {
        "as_": as_,
        "interval": interval,
        "by": cast("tuple[By, ...]", _names(by or "")),
    }
    if metrics is not None:
        options["metrics"] = _names(metrics)
    opened, finished = SequenceStore.open(store, verify=True), Run.open(run, allow_modules=allowed)
    with common.progress("encoding", "users") as update:
        found = score(
            finished, opened, part=part, index=index, allow_modules=allowed, on_progress=update, **options
        )
    _print(found, f"{task}, {part} targets" + (f", as {as_}" if as_ else ""))
    if json_out is not None:
        preset = {"as": as_} if as_ else {}
        _write(json_out, flat(found, task=task, split=part, **preset, **facts(finished, opened)))


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _print(found: Sequence[TaskResult], title: str) -> None:
    """Tables of the numbers, and below them what they mean."""
    from usermodel.metrics.groups import COUNTED

    whole = [one for one in found if not one.by]
    rows = [(one.metric, one.value, _interval(one.low, one.high), one.n) for one in whole]
    common.print_table(title, ["metric", "value", "95 % interval", "users"], rows)
    for by, counted in COUNTED.items():
        groups = sorted((one for one in found if one.by == by), key=lambda one: _order(whole, one))
        if groups:
            shown = [
                (one.metric, one.group, one.value, _interval(one.low, one.high), one.n) for one in groups
            ]
            common.print_table(f"by {by}", ["metric", counted, "value", "95 % interval", "users"], shown)
    _print_definitions(whole)
    if unknown := whole[0].n_unknown_targets:
        common.say(
            f"{unknown:,} of {max(one.n for one in whole):,} targets are items that the run does not know"
        )


def _order(whole: Sequence[TaskResult], one: TaskResult) -> int:
    """Rows of a metric together; `sorted` leaves groups in their order."""
    return [row.metric for row in whole].index(one.metric)


def _print_definitions(whole: Sequence[TaskResult]) -> None:
    """What each metric counts, then the rules; rules that several metrics share are printed once."""
    rules: dict[str, list[str]] = {}
    for one in whole:
        counted, ranking, rule = one.definition.partition("; full ranking")
        common.say(f"{one.metric}: {counted}")
        if ranking:
            rules.setdefault(f"full ranking{rule}", []).append(one.metric)
    for rule, names in rules.items():
        common.say(rule if len(rules) == 1 else f"{', '.join(names)}: {rule}")


def _interval(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{low:.4f} - {high:.4f}"


def _write(path: Path, data: dict[str, Any]) -> None:
    from usermodel.manifest import write_text

    write_text(path, json.dumps(data, indent=1) + "\n")
    common.say(f"wrote {path}")
