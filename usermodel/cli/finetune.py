"""usermodel finetune"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from usermodel.cli import common

if TYPE_CHECKING:
    from usermodel.training.recipe import Recipe


def finetune(
    run: common.RunPath,
    store: common.StorePath,
    out: common.Out,
    task: Annotated[
        Literal["user-attribute", "user-choice"],
        typer.Option(
            help="What labels are: a class of each user, or things that users chose.", show_default=False
        ),
    ],
    column: Annotated[
        str | None,
        typer.Option(
            help="Column with the labels: of the users table for user-attribute, of the labels table for user-choice.",
            show_default="label, target",
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="user-attribute: Parquet or CSV with user_id and the column, instead of the users table."
        ),
    ] = None,
    freeze: Annotated[
        bool, typer.Option("--freeze", help="Train a head on vectors that stay as they are.")
    ] = False,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="What to run last: name, FILE.toml, FILE.json, or module:function.",
            show_default="that of the task",
            callback=common.recipe_given,
        ),
    ] = None,
    set_: common.Set = None,
    allow_module: common.AllowModule = None,
    resume: common.Resume = False,
    overwrite: common.Overwrite = False,
) -> None:
    """Go on from a pretrained encoder with labels, and keep the head that answers. The new run holds all but a file of --labels."""
    from usermodel.recipes.catalog import find, parse_assignments
    from usermodel.store.sequence_store import SequenceStore
    from usermodel.training.finetune import after
    from usermodel.training.finetune import finetune as train
    from usermodel.training.run import Run, read_recipe

    allowed = allow_module or []
    given: dict[str, Any] = {
        "sampling.column": column,
        # The run reads it again when it is scored, perhaps from elsewhere.
        "sampling.file": None if labels is None else str(labels.absolute()),
        "objective.freeze": freeze or None,
    }
    changes = {key: value for key, value in given.items() if value is not None} | parse_assignments(
        set_ or []
    )
    first = Run.open(run, allow_modules=allowed)
    if resume and recipe is None and not changes and (out / "config.json").is_file():
        last = read_recipe(out / "config.json", allow_modules=allowed)
    else:
        last = after(first, find(recipe or task, allow_modules=allowed), changes)
    _require_task(task, last)
    opened = SequenceStore.open(store, verify=True)
    with common.progress("fine-tuning", "events") as update, common.plain_warnings():
        made = train(
            first,
            opened,
            last,
            out,
            resume=resume,
            overwrite=overwrite,
            allow_modules=allowed,
            on_progress=common.epochs(update),
        )
    common.say_finished(made)
    common.say(
        f"next: usermodel evaluate {out} {store} --task {task}, usermodel embed {out} {store} -o users.parquet"
    )


def _require_task(task: str, recipe: Recipe) -> None:
    """Raise `ConfigError` where the recipe answers something else."""
    from usermodel.errors import ConfigError

    answered = recipe.objective.task
    if answered != task:
        found = f"{type(recipe.objective).__name__}, for {answered or 'no labels'}"
        do = f"Choose --task {answered}." if answered else "Name a recipe that learns from labels."
        raise ConfigError("--recipe", expected=f"an objective for --task {task}", found=found, do=do)
