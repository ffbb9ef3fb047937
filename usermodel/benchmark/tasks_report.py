"""One page: every task of a run, beside what needs no pretraining and beside other runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from usermodel.benchmark.beside import BASELINES
from usermodel.benchmark.evaluate_all import AllTasks, by_question, title
from usermodel.report.figures import metric_bars
from usermodel.report.html import Code, Definitions, Figure, Section, Table, Text, write_report
from usermodel.tasks.protocol import TaskResult
from usermodel.version import VERSION

#: What a question is called.
_TITLES: Final = {
    "next-item": "Which item comes next?",
    "ctr": "Will it be clicked?",
    "watch-time": "How long will it be watched?",
    "user-attribute": "Who is the user?",
}
#: What guessing reaches in the main metric of all but next items.
_CHANCE: Final = 0.5


@dataclass(frozen=True)
class _Question:
    """A question, and what each of the compared scores in its main metric.

    Attributes:
        name: ``ctr``, ``user-attribute gender``.
        rows: By name of what is compared; those that cannot be scored are missing.
    """

    name: str
    rows: Mapping[str, TaskResult]

    @property
    def task(self) -> str:
        return self.name.partition(" ")[0]

    @property
    def heading(self) -> str:
        column = self.name.partition(" ")[2]
        return f"{_TITLES[self.task]} {column}".strip()

    @property
    def label(self) -> str:
        return title(self.name, next(iter(self.rows.values())))

    @property
    def metric(self) -> str:
        return next(iter(self.rows.values())).metric


def write_tasks_report(
    path: Path, compared: Mapping[str, AllTasks], commands: str, facts: Mapping[str, object]
) -> None:
    """Write the page.

    Args:
        path: The file.
        compared: Runs and baselines, as `evaluate_beside` gives them; the page is about the first.
        commands: How to make it again.
        facts: What the numbers stand on, by name.
    """
    questions = _questions(compared)
    heading = f"All tasks of {next(iter(compared))}"
    sections = [
        _table(compared, questions),
        *(_section(one, compared) for one in questions),
        Section("What is compared", "", [Definitions(_told(compared))]),
        Section("How this was made", "", [Definitions(facts), Code(commands)]),
    ]
    write_report(path, heading, _lead(compared, questions), sections, footer=f"usermodel {VERSION}")


def _questions(compared: Mapping[str, AllTasks]) -> list[_Question]:
    """Those that any of the compared answers."""
    return [_Question(question, rows) for question, rows in by_question(compared).items()]


def _lead(compared: Mapping[str, AllTasks], questions: Sequence[_Question]) -> str:
    """On how many questions the first is ahead of all baselines, and on how many of these intervals do not meet."""
    name = next(iter(compared))
    ahead = apart = 0
    for one in questions:
        mine, others = one.rows.get(name), [one.rows[other] for other in BASELINES if other in one.rows]
        if mine is not None and others and all(mine.value > other.value for other in others):
            ahead += 1
            apart += all(_apart(mine, other) for other in others)
    many = {0: "no question", 1: "one question"}.get(len(questions), f"{len(questions)} questions")
    return (
        f"Of {many} that the store can ask, the user vectors of {name} answer {ahead} better than everything that needs no "
        f"pretraining, {apart} of them with 95 % intervals that do not meet."
    )


def _apart(better: TaskResult, other: TaskResult) -> bool:
    return better.low is not None and other.high is not None and better.low > other.high


def _table(compared: Mapping[str, AllTasks], questions: Sequence[_Question]) -> Section:
    rows = []
    for name in compared:
        found = [one.rows.get(name) for one in questions]
        rows.append([name, *(None if row is None else row.value for row in found)])
    left_out = [
        f"{name}, {what}: {why}" for name, one in compared.items() for what, why in one.left_out.items()
    ]
    columns = ["", *(one.label for one in questions)]
    parts: list[Table | Text | Definitions] = [
        Table(
            columns,
            rows,
            "The main metric of each task; more is better",
            "One seed. Intervals over users are in the pictures; a difference inside them is none that these rows show.",
        ),
        Definitions({one.metric: next(iter(one.rows.values())).definition for one in questions}),
    ]
    if left_out:
        parts.append(Text(["Not scored.", *left_out]))
    return Section(
        "All tasks at a glance",
        "The same heads, probes and rows for all; the vectors that they read are others.",
        parts,
    )


def _section(one: _Question, compared: Mapping[str, AllTasks]) -> Section:
    bars = [(name, row.value, *_ends(row)) for name, row in one.rows.items()]
    runs = [name for name in compared if name not in BASELINES]
    chance = {} if one.task == "next-item" else {"chance": _CHANCE}
    missing = [name for name in compared if name not in one.rows]
    without = f" Not scored: {', '.join(missing)}." if missing else ""
    return Section(
        one.heading,
        "",
        [
            Figure(
                metric_bars(bars, one.metric, highlight=runs, references=chance),
                f"{one.metric} with 95 % intervals over users; runs in colour.{without}",
                f"Bars of {one.metric} for {', '.join(one.rows)}.",
            )
        ],
    )


def _ends(row: TaskResult) -> tuple[float | None, float | None]:
    """Of the interval, which may miss the value by rounding where all users are equal."""
    low, high = row.low, row.high
    return None if low is None else min(low, row.value), None if high is None else max(high, row.value)


def _told(compared: Mapping[str, AllTasks]) -> dict[str, str]:
    return {name: BASELINES.get(name, "a pretrained run: its user vectors, frozen") for name in compared}
