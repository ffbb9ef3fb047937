"""Results of tasks: tables on the screen, what the numbers mean, and a file of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from usermodel.cli import common

if TYPE_CHECKING:
    from usermodel.tasks.protocol import TaskResult


def print_results(found: Sequence[TaskResult], title: str, counted: str = "users") -> None:
    """Tables of the numbers, and below them what they mean."""
    from usermodel.metrics.groups import COUNTED

    whole = [one for one in found if not one.by]
    rows = [(one.metric, one.value, interval(one.low, one.high), one.n) for one in whole]
    common.print_table(title, ["metric", "value", "95 % interval", counted], rows)
    heads = [*COUNTED.items(), ("duration", "duration of the item")]
    for by, head in heads:
        groups = sorted((one for one in found if one.by == by), key=lambda one: _order(whole, one))
        if groups:
            shown = [(one.metric, one.group, one.value, interval(one.low, one.high), one.n) for one in groups]
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


def interval(low: float | None, high: float | None) -> str:
    """Both ends, or a dash."""
    return "-" if low is None or high is None else f"{low:.4f} - {high:.4f}"


def write_results(path: Path, data: dict[str, Any]) -> None:
    """One object, whole or not at all."""
    from usermodel.manifest import write_text

    write_text(path, json.dumps(data, indent=1) + "\n")
    common.say(f"wrote {path}")
