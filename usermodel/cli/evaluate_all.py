"""Of usermodel evaluate: all tasks at once, and beside what needs no pretraining and beside other runs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from usermodel.cli import common
from usermodel.cli.results import interval, print_results, write_results

if TYPE_CHECKING:
    from usermodel.benchmark.evaluate_all import AllTasks
    from usermodel.store.sequence_store import SequenceStore
    from usermodel.training.run import Run


#: Facts of a run that hold for whatever is scored beside it.
OF_STORE: Final = ("protocol", "n_users", "n_items", "n_events", "store_hash", "fitted_on")


@dataclass(frozen=True)
class WantedAll:
    """What the command line says of all tasks: columns to probe for, the part, other runs, and the files to write."""

    labels: tuple[str, ...]
    part: Literal["test", "valid"]
    beside: Sequence[Path] = ()
    html: Path | None = None
    json: Path | None = None

    @property
    def compares(self) -> bool:
        """Whether more than the one run is scored."""
        return bool(self.beside) or self.html is not None


def score_all(run: Run, store: SequenceStore, wanted: WantedAll, allowed: Sequence[str]) -> None:
    """Every task that the store has rows for, printed one after the other; the others with what they lack.

    Writes one flat object per task; where more than the run is scored, under ``beside`` the same by name. Then the page.
    """
    from usermodel.benchmark.beside import evaluate_beside
    from usermodel.benchmark.evaluate import facts
    from usermodel.benchmark.evaluate_all import evaluate_all
    from usermodel.benchmark.tasks_report import write_tasks_report
    from usermodel.training.run import Run

    part, labels = wanted.part, wanted.labels
    with common.plain_warnings():
        if not wanted.compares:
            found = evaluate_all(
                run, store, part=part, labels=labels, allow_modules=allowed, on_task=common.say
            )
            _print(found, part)
            _write(wanted, _flat(found, part, facts(run, store)))
            return
        others = [Run.open(path, allow_modules=allowed) for path in wanted.beside]
        runs = _named([run, *others])
        every = evaluate_beside(
            runs, store, part=part, labels=labels, allow_modules=allowed, on_task=common.say
        )
    of_runs = {name: facts(one, store) for name, one in runs.items()}
    name, *beside = every
    of_all = {key: of_runs[name][key] for key in OF_STORE}
    flat = {one: _flat(every[one], part, of_runs.get(one, of_all)) for one in every}
    _print(every[name], part)
    _print_beside(every)
    _write(wanted, flat[name] | {"beside": {other: flat[other] for other in beside}})
    if wanted.html is not None:
        write_tasks_report(wanted.html, every, _command(runs, store, wanted, allowed), of_runs[name])
        common.say(f"wrote {wanted.html}")


def _write(wanted: WantedAll, objects: dict[str, Any]) -> None:
    if wanted.json is not None:
        write_results(wanted.json, objects)


def _named(runs: Sequence[Run]) -> dict[str, Run]:
    """By the names of their folders; by their whole paths where two have the same name, or one that of a baseline.

    Raises:
        ConfigError: The same run twice.
    """
    from usermodel.benchmark.beside import BASELINES
    from usermodel.errors import ConfigError

    names = [run.path.resolve().name for run in runs]
    paths = [str(run.path.resolve()) for run in runs]
    if len(set(paths)) < len(paths):
        found = next(path for path in paths if paths.count(path) > 1)
        do = "Name each run once."
        raise ConfigError("--beside", expected="other runs", found=f"{found} again", do=do)
    titles = paths if len(set(names)) < len(names) or BASELINES.keys() & set(names) else names
    return dict(zip(titles, runs, strict=True))


def _print(found: AllTasks, part: str) -> None:
    counted = {"next-item": "users", "user-attribute": "users"}
    for task, rows in found.results.items():
        print_results(rows, f"{task}, {part}", counted=counted.get(task, "rows"))
    for name, reason in found.left_out.items():
        common.say(f"without {name}: {reason}")


def _print_beside(every: Mapping[str, AllTasks]) -> None:
    """The main metric of each task, a row for each of the compared; and what the others than the first lack."""
    from usermodel.benchmark.evaluate_all import by_question, title

    rows = [
        (title(question, row), name, row.value, interval(row.low, row.high))
        for question, found in by_question(every).items()
        for name, row in found.items()
    ]
    common.print_table(
        "beside what needs no pretraining", ["task", "vectors", "value", "95 % interval"], rows
    )
    for name, found in list(every.items())[1:]:
        for task, reason in found.left_out.items():
            common.say(f"{name}, without {task}: {reason}")


def _flat(found: AllTasks, part: str, about: Mapping[str, Any]) -> dict[str, Any]:
    from usermodel.benchmark.evaluate import flat

    return {task: flat(rows, task=task, split=part, **about) for task, rows in found.results.items()}


def _command(runs: Mapping[str, Run], store: SequenceStore, wanted: WantedAll, allowed: Sequence[str]) -> str:
    run, *others = (str(run.path) for run in runs.values())
    words = ["usermodel", "evaluate", run, str(store.path), "--task", "all"]
    for other in others:
        words += ["--beside", other]
    for module in allowed:
        words += ["--allow-module", module]
    words += ["--label", ",".join(wanted.labels)] if wanted.labels else []
    words += ["--part", wanted.part] if wanted.part != "test" else []
    return shlex.join([*words, "--html", str(wanted.html)])
