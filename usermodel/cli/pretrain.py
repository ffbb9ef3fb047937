"""usermodel pretrain"""

from __future__ import annotations

from typing import Annotated

import typer

from usermodel.cli import common


def pretrain(
    store: common.StorePath,
    out: common.Out,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Built-in name, FILE.toml, FILE.json, or module:function.",
            show_default="next-item",
            callback=common.recipe_given,
        ),
    ] = None,
    set_: common.Set = None,
    devices: Annotated[
        int | None,
        typer.Option(help="Processes on this machine, one a GPU. Same as --set training.devices=N.", min=1),
    ] = None,
    allow_module: common.AllowModule = None,
    resume: common.Resume = False,
    overwrite: common.Overwrite = False,
) -> None:
    """Pretrain a user encoder. Ctrl-C saves a checkpoint and exits 7; --resume continues bit for bit."""
    from usermodel.recipes.catalog import find, parse_assignments
    from usermodel.store.sequence_store import SequenceStore
    from usermodel.training.pretrain import pretrain as train
    from usermodel.training.processes import Team

    changes = parse_assignments(set_ or []) | ({} if devices is None else {"training.devices": devices})
    chosen = None
    if not resume or recipe is not None or changes:
        chosen = find(recipe or "next-item", allow_modules=allow_module or ()).override(changes)
    opened = SequenceStore.open(store, verify=True)
    with common.progress("pretraining", "events") as update, common.plain_warnings():
        run = train(
            opened,
            chosen,
            out,
            resume=resume,
            overwrite=overwrite,
            allow_modules=allow_module or (),
            on_progress=common.epochs(update),
        )
    if Team.rank_in_environment():
        # Under torchrun every rank comes by here; one tells.
        return
    if "loss" in run.meta:
        drawn = f", {run.meta['n_negatives']} negatives" if "n_negatives" in run.meta else ""
        common.say(f"loss: {run.meta['loss']}{drawn}")
    common.say_finished(run)
    common.say(f"next: usermodel embed {out} {store} -o users.parquet, usermodel evaluate {out} {store}")
