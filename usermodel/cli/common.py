"""What commands share: options, progress bars, tables, errors."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from usermodel.training.progress import Progress as TrainingProgress
    from usermodel.training.run import Run

Out = Annotated[
    Path,
    typer.Option(
        "--out", "-o", help="Where to write. Must not exist, unless --overwrite.", show_default=False
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is already there.")]
RowFormat = Annotated[
    Literal["table", "json", "csv", "parquet"] | None,
    typer.Option(help="How to print or write.", show_default="a table; for -o by the suffix"),
]
RowsOut = Annotated[Path | None, typer.Option("--out", "-o", help="File to write instead of printing.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object for machines.")]
AllowModule = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Module outside usermodel that the run may name. Repeatable.",
        callback=lambda given: see_own_modules(given, bool(given)),
    ),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Continue an interrupted run; a finished one is left as it is.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one value, such as encoder.dim=128. Repeatable."),
]
StorePath = Annotated[
    Path, typer.Argument(metavar="STORE", help="A store made by 'usermodel ingest'.", show_default=False)
]
RunPath = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run made by 'usermodel pretrain'.", show_default=False)
]

#: Results go to standard output, everything else to standard error, so that pipes stay clean.
notes = Console(stderr=True, highlight=False, soft_wrap=True)
results = Console(highlight=False)


def fail(message: str) -> None:
    """Print an error."""
    notes.print(Text.assemble(("error: ", "bold red"), message))


def say(message: str) -> None:
    """Print a note."""
    notes.print(Text(message))


def see_own_modules(given: Any, there: bool) -> Any:
    """Let modules of the working folder be found where one may be named, and last, so that none hides another.

    ``python -m usermodel`` has that folder first; an installed command has it not at all.
    """
    if there and (folder := str(Path.cwd())) not in sys.path:
        sys.path.append(folder)
    return given


def recipe_given(given: str | None) -> str | None:
    """A --recipe that may name a module of the caller's own, itself or in a file."""
    see_own_modules(given, given is not None and (":" in given or given.endswith(".toml")))
    return given


@contextlib.contextmanager
def printing() -> Iterator[None]:
    """Results on their way to standard output; flushed at once, while the exit code can still tell.

    Raises:
        DataError: An encoding that lacks a character.
        StorageError: The disk behind standard output refused.
    """
    from usermodel.errors import DataError, StorageError

    where = "standard output"
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads has enough, as ``head`` does.
        raise
    except UnicodeEncodeError as error:
        found = f"{error.encoding}, which has no {error.object[error.start]!a}"
        do = "Set PYTHONIOENCODING=utf-8."
        expected = "an encoding that has every character"
        raise DataError(where, expected=expected, found=found, do=do) from None
    except OSError as error:
        # What is left in the buffer would fail once more at the end, with another exit code.
        with contextlib.suppress(OSError), Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        found, do = error.strerror or str(error), "Free some space, or write elsewhere."
        raise StorageError(where, expected="a place that can be written", found=found, do=do) from error


@contextlib.contextmanager
def plain_warnings() -> Iterator[None]:
    """Print warnings as notes: the file and line that Python adds are of no use to whoever typed a command."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_: say(f"warning: {message}")
        yield


def say_rows(rows: Mapping[str, int], repeated: int, bad_rows: str) -> None:
    """Print what became of the rows of a log.

    Args:
        rows: Their counts: ``read`` is the sum of the others.
        repeated: How many repeat another one exactly, dropped or not.
        bad_rows: What was asked for with ``--bad-rows``: bad rows are quarantined only where they are kept.
    """
    names = {"quarantined": "dropped"} if bad_rows == "drop" else {}
    parts = [
        f"{names.get(name, name).replace('_', ' ')} {count:,}"
        for name, count in rows.items()
        if name != "read" and (count or name == "accepted")
    ]
    say(f"read {rows['read']:,} rows = {' + '.join(parts)}")
    if kept := repeated - rows["duplicates"]:
        say(f"{kept:,} rows repeat another one exactly; --duplicates drop leaves them out")


def say_unknown(n_items: int, counts: Any) -> None:
    """Print what an encoder skipped in a store that has grown; nothing when it knows all items.

    Args:
        n_items: Items that it does not know.
        counts: Frame with ``n_events`` and ``n_unknown`` of each user.
    """
    if not n_items:
        return
    events, unknown = counts["n_events"], counts["n_unknown"]
    say(f"skipped {unknown.sum():,} of {events.sum():,} events: the encoder does not know {n_items:,} items")
    if nothing := (events == unknown).sum():
        say(f"{nothing:,} users have no other events; their vectors are zeros")


def epochs(update: Callable[..., None]) -> Callable[[TrainingProgress], None]:
    """Show the progress of training: events on the bar, loss and metrics beside it; a line an epoch where there is no bar."""

    def watch(now: TrainingProgress) -> None:
        metrics = "  ".join(f"{name} {value:.4f}" for name, value in now.metrics.items())
        parts = "  ".join(f"{name} {value:.3f}" for name, value in now.parts.items())
        # The only part of a loss is the loss.
        parts = f"({parts})  " if len(now.parts) > 1 else ""
        note = f"epoch {now.epoch} of at most {now.max_epochs}  loss {now.loss:.3f}  {parts}"
        update(now.done, now.total, f"{note}rate {now.learning_rate:.2g}  {metrics}")
        if now.done == now.total and not notes.is_terminal and now.metrics:
            say(f"epoch {now.epoch}  loss {now.loss:.4f}  {metrics}")

    return watch


def say_finished(run: Run) -> None:
    """Print how long a run took and how good it became."""
    best = ", ".join(f"best validation {name} {value:.4f}" for name, value in run.meta["best"].items())
    say(
        f"finished after {run.meta['epochs']} epochs, {run.meta['seconds']:.0f} s; {best or 'not validated'}, "
        f"weights of epoch {run.meta['best_epoch']}"
    )


def print_json(data: Any) -> None:
    """Print JSON to standard output, unformatted by the terminal."""
    with printing():
        sys.stdout.write(json.dumps(data, indent=1, default=str) + "\n")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table; numbers are right-aligned."""
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    for number, name in enumerate(columns):
        is_number = bool(rows) and isinstance(rows[0][number], int | float)
        table.add_column(name, justify="right" if is_number else "left")
    for row in rows:
        table.add_row(*(text(cell) for cell in row))
    with printing():
        results.print(table)


def print_k_core(rounds: Sequence[Sequence[int]]) -> None:
    """Print what each round of the k-core removed; nothing when there was none."""
    if rounds:
        rows = [(number, *removed) for number, removed in enumerate(rounds, start=1)]
        print_table("Removed by the k-core", ["round", "users", "items", "events"], rows)


def text(value: Any) -> str:
    """A cell: thousands separated, four digits after the point."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def print_bars(title: str, bars: Sequence[tuple[str, int]], width: int = 40) -> None:
    """Print a distribution as horizontal bars."""
    most = max((count for _, count in bars), default=0)
    if not most:
        return
    label = max(len(name) for name, _ in bars)
    with printing():
        results.print(Text(title, style="bold"))
        for name, count in bars:
            bar = "█" * max(round(width * count / most), 1 if count else 0)
            results.print(Text(f"  {name:>{label}}  {bar} {count:,}"))


class Rate(ProgressColumn):
    """Units per second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Any) -> Text:
        """The rate so far."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} {self.unit}/s" if speed else f"- {self.unit}/s")


def with_rows(update: Callable[..., None]) -> Callable[[int, int, int], None]:
    """Show the progress of a reading: bytes on the bar, rows beside it."""
    return lambda done, total, rows: update(done, total, f"{rows:,} rows")


@contextlib.contextmanager
def progress(what: str, unit: str) -> Iterator[Callable[..., None]]:
    """A progress bar with percentage, rate and time left; silent when standard error is not a terminal.

    Yields:
        ``update(done, total, note="")``.
    """
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        *(
            [DownloadColumn(), TransferSpeedColumn()]
            if unit == "bytes"
            else [MofNCompleteColumn(), Rate(unit)]
        ),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    ]
    with Progress(*columns, console=notes, disable=not notes.is_terminal, transient=True) as bar:
        task: TaskID | None = None

        def update(done: int, total: int | None, note: str = "") -> None:
            nonlocal task
            if task is None:
                task = bar.add_task(what, total=total, note=note)
            if bar.tasks[task].total != total or done < bar.tasks[task].completed:
                bar.reset(task, total=total, note=note)
            bar.update(task, completed=done, note=note)

        yield update
