"""usermodel convert"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from usermodel.cli import common


def convert(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="CKPT", help="A .pt or .safetensors file of ICSRec, SAS or GRU.", show_default=False
        ),
    ],
    store: Annotated[
        Path,
        typer.Option(
            help="Store of the sequence file it was trained on; its item ids are 1 to n.", show_default=False
        ),
    ],
    out: common.Out,
    heads: Annotated[
        int | None,
        typer.Option(
            help="Attention heads of a SAS model, which its weights do not tell.",
            show_default="2",
        ),
    ] = None,
    max_history: Annotated[
        int | None,
        typer.Option(
            help="Length to which a GRU model pads, which its weights do not tell.",
            show_default="50",
        ),
    ] = None,
    overwrite: common.Overwrite = False,
) -> None:
    """Make a run of an official ICSRec checkpoint. Nothing in the file is executed."""
    from usermodel.store.sequence_store import SequenceStore
    from usermodel.training.convert import convert as make

    opened = SequenceStore.open(store, verify=True)
    run = make(checkpoint, opened, out, heads=heads, max_history=max_history, overwrite=overwrite)
    facts = run.meta
    common.say(f"wrote {facts['converted_from']['family']}, {facts['parameters']:,} weights, to {out}")
    common.say(f"next: usermodel evaluate {out} {store}")
