"""usermodel evaluate"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from usermodel.cli import common
from usermodel.cli.outputs import refuse_taken

if TYPE_CHECKING:
    from usermodel.metrics.groups import By
    from usermodel.store.sequence_store import SequenceStore
    from usermodel.tasks.next_item import NextItemOptions
    from usermodel.tasks.protocol import TaskResult
    from usermodel.training.run import Run


def evaluate(
    run: common.RunPath,
    store: common.StorePath,
    task: Annotated[
        Literal["next-item", "user-attribute", "user-choice", "watch-time"],
        typer.Option(
            help="What to score: items that users took next; a linear probe of --label on frozen vectors, or the head of a "
            "fine-tuned run; what users chose, by such a head; how long events were watched, by a --head on frozen vectors."
        ),
    ] = "next-item",
    head: Annotated[
        str | None,
        typer.Option(
            help="watch-time: value-regression wlr d2q tpm cread generative-regression.",
            show_default="value-regression",
        ),
    ] = None,
    target: Annotated[
        Literal["seconds", "ratio"] | None,
        typer.Option(help="watch-time: in seconds, or over the duration.", show_default="seconds"),
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="watch-time: what the head knows beside the user's vector. With commas: user_id item_id duration hour weekday, "
            "declared columns, items.COLUMN users.COLUMN.",
            show_default="user_id,item_id,duration",
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="user-attribute: with commas, columns of the users table of the store, or of --labels, to probe vectors for.",
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="user-attribute: Parquet or CSV with user_id and the columns of --label; without --label, where the labels of "
            "the run's head now are."
        ),
    ] = None,
    part: Annotated[
        Literal["test", "valid"] | None,
        typer.Option(
            help="Which targets of the run's split, or of the labels of its head.",
            show_default="test",
        ),
    ] = None,
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
        Literal["bootstrap", "normal"] | None,
        typer.Option(help="How 95 % intervals over users are made.", show_default="bootstrap"),
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option(
            help="An index of the run's items: how much of the exact best it finds for these users."
        ),
    ] = None,
    json_out: Annotated[
        Path | None,
        typer.Option(
            "--json",
            help="Also write the scores, counts and definitions to this file, which must not exist, unless --overwrite.",
        ),
    ] = None,
    allow_module: common.AllowModule = None,
    overwrite: common.Overwrite = False,
) -> None:
    """Score a run, with intervals and definitions: next items in a full ranking, or what is known of users."""
    from usermodel.benchmark.evaluate import evaluate as score
    from usermodel.benchmark.evaluate import facts, flat
    from usermodel.store.sequence_store import SequenceStore
    from usermodel.training.run import Run

    allowed = allow_module or []
    of_items = {"--metrics": metrics, "--by": by, "--as": as_, "--interval": interval, "--index": index}
    of_watching = {"--head": head, "--target": target, "--features": features}
    _require_effect(task, of_items, {"--label": label, "--labels": labels}, part, of_watching)
    if json_out is not None:
        refuse_taken(json_out, overwrite)
    part = part or "test"
    if task == "watch-time":
        opened, finished = SequenceStore.open(store, verify=True), Run.open(run, allow_modules=allowed)
        wanted = (head or "value-regression", target or "seconds", _names(features or ""))
        found = _score_watching(finished, opened, wanted, part, allowed)
        _print(found, f"{task}, {part} part of the run's split", counted="events")
        if json_out is not None:
            _write(json_out, flat(found, task=task, split=part, **facts(finished, opened)))
        return
    if task != "next-item":
        opened, finished = SequenceStore.open(store, verify=True), Run.open(run, allow_modules=allowed)
        with common.plain_warnings():
            found = _score_labels(finished, opened, task, _names(label or ""), labels, part, allowed)
        about = f"probe of {label}" if label else f"{part} part of the run's labels"
        _print(found, f"{task}, {about}", counted="choices" if task == "user-choice" else "users")
        if json_out is not None:
            part_of = {} if label else {"split": part}
            _write(json_out, flat(found, task=task, **part_of, **facts(finished, opened)))
        return
    options: NextItemOptions = {
        "as_": as_,
        "interval": interval or "bootstrap",
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


def _require_effect(
    task: str,
    of_items: dict[str, Any],
    of_attributes: dict[str, Any],
    part: str | None,
    of_watching: dict[str, Any],
) -> None:
    """Raise `ConfigError` where an option has no meaning for the task."""
    from usermodel.errors import ConfigError

    idle = ({} if task == "next-item" else of_items) | ({} if task == "watch-time" else of_watching)
    idle = idle | ({} if task == "user-attribute" else of_attributes)
    for option, value in idle.items():
        if value is not None:
            do = "Drop the option, or choose another task."
            raise ConfigError(option, expected=f"an option of --task {task}", found=str(value), do=do)
    label = of_attributes["--label"]
    if label is not None and not _names(label):
        do = "Name columns, or drop it to score the head of the run."
        raise ConfigError("--label", expected="a column at least", found=repr(label), do=do)
    if label is not None and part is not None:
        do = "Drop the option: a probe is cross-validated over all users."
        raise ConfigError("--part", expected="none beside --label", found=part, do=do)


def _score_labels(
    run: Run,
    store: SequenceStore,
    task: str,
    names: Sequence[str],
    labels: Path | None,
    part: Literal["test", "valid"],
    allowed: Sequence[str],
) -> list[TaskResult]:
    """The probe of each column, or else the head."""
    from usermodel.benchmark.evaluate_labels import evaluate_attribute, evaluate_head
    from usermodel.errors import ConfigError

    if names:
        found = []
        for name in names:
            with common.progress("encoding", "users") as update:
                found += evaluate_attribute(
                    run, store, name, source=labels, allow_modules=allowed, on_progress=update
                )
        return found
    answered = run.recipe.objective.task
    if answered not in (None, task):
        do, found_task = f"Choose --task {answered}.", f"one for {answered}"
        raise ConfigError("--task", expected=f"a run with a head for {task}", found=found_task, do=do)
    return evaluate_head(run, store, part=part, source=labels, allow_modules=allowed)


def _score_watching(
    run: Run,
    store: SequenceStore,
    wanted: tuple[str, Literal["seconds", "ratio"], tuple[str, ...]],
    part: Literal["test", "valid"],
    allowed: Sequence[str],
) -> list[TaskResult]:
    """A head of that name, for that target, on these features."""
    from usermodel.benchmark.evaluate_rows import evaluate_watch_time
    from usermodel.heads.catalog import find_watch_time_head
    from usermodel.heads.watch_time_model import WatchTimeModelConfig
    from usermodel.tasks.watch_time import WatchTime

    name, target, features = wanted
    model = WatchTimeModelConfig(head=find_watch_time_head(name))
    task = WatchTime(model=model, target=target, split=run.recipe.data.split)
    task = dataclasses.replace(task, features=features or task.features)
    with common.progress("encoding", "events") as update:
        return evaluate_watch_time(run, store, task, part=part, allow_modules=allowed, on_progress=update)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _print(found: Sequence[TaskResult], title: str, counted: str = "users") -> None:
    """Tables of the numbers, and below them what they mean."""
    from usermodel.metrics.groups import COUNTED

    whole = [one for one in found if not one.by]
    rows = [(one.metric, one.value, _interval(one.low, one.high), one.n) for one in whole]
    common.print_table(title, ["metric", "value", "95 % interval", counted], rows)
    heads = [*COUNTED.items(), ("duration", "duration of the item")]
    for by, head in heads:
        groups = sorted((one for one in found if one.by == by), key=lambda one: _order(whole, one))
        if groups:
            shown = [
                (one.metric, one.group, one.value, _interval(one.low, one.high), one.n) for one in groups
            ]
            common.print_table(f"by {by}", ["metric", head, "value", "95 % interval", counted], shown)
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
