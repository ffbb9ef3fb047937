"""usermodel demo"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from usermodel.cli import common

if TYPE_CHECKING:
    from usermodel.training.progress import Progress

_MARK = ".usermodel-demo"


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for everything the demo makes.")] = Path(
        "demo-output"
    ),
    seed: Annotated[int, typer.Option(help="Seed of logs and training.", min=0)] = 0,
    overwrite: common.Overwrite = False,
) -> None:
    """Walk the whole road on simulated logs; ends with the path of report.html. About two minutes on two cores."""
    from usermodel.benchmark.demo import demo_recipe, run_demo
    from usermodel.events.simulate import SimulateConfig

    _prepare(out, overwrite)
    recipe = demo_recipe().override({"training.seed": seed})
    with common.progress("pretraining", "events") as update:

        def watch(now: Progress) -> None:
            update(now.done, now.total, f"epoch {now.epoch} of at most {now.max_epochs}, loss {now.loss:.3f}")

        config = SimulateConfig(seed=seed)
        made = run_demo(
            out,
            config=config,
            recipe=recipe,
            on_stage=lambda stage: common.say(f"{stage} ..."),
            on_progress=watch,
        )
    columns = ["hit@10", "ndcg@10", "mrr"]
    rows = [
        [name, *(next(one.value for one in found if one.metric == metric) for metric in columns)]
        for name, found in made.scores.items()
    ]
    rows.append(["(knows the planted truth)", *(made.ceiling[metric] for metric in columns)])
    shown = made.recommendations.select("user_id", "rank", "item_id", "title", "score")
    common.print_table("Five items for three users", shown.columns, shown.rows())
    common.print_table("Next item, test targets, full ranking", ["", *columns], rows)
    gains = [(one.task, one.metric, one.without.value, one.with_vectors.value) for one in made.tasks]
    common.print_table("Other tasks, test rows", ["task", "metric", "without vectors", "with vectors"], gains)
    common.say(f"finished in {sum(made.seconds.values()):.0f} s")
    common.results.print(f"report: {made.report.resolve()}", soft_wrap=True)


def _prepare(out: Path, overwrite: bool) -> None:
    """Start from an empty folder; only one that a demo made is ever replaced."""
    from usermodel.errors import OutputExistsError, StorageError

    if out.exists() and not out.is_dir():
        do = "Choose another name with -o."
        raise OutputExistsError(str(out), expected="an empty folder", found="a file", do=do)
    full = out.is_dir() and any(out.iterdir())
    if full and not (overwrite and (out / _MARK).is_file()):
        do = "Choose another name with -o"
        do += ", or pass --overwrite." if (out / _MARK).is_file() else "."
        raise OutputExistsError(str(out), expected="an empty folder", found="one that is not", do=do)
    try:
        if full:
            # Removed under another name first, so that a kill does not leave half a demo under the name that was asked for.
            old = Path(tempfile.mkdtemp(prefix=f".{out.name}.old-", dir=out.parent))
            out.rename(old / "demo")
            shutil.rmtree(old)
        out.mkdir(parents=True, exist_ok=True)
        (out / _MARK).touch()
    except OSError as error:
        found, do = error.strerror or str(error), "Choose another place with -o."
        raise StorageError(str(out), expected="a place that can be written", found=found, do=do) from error
