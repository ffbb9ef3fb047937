"""usermodel embed"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from usermodel.cli import common


def embed(
    run: common.RunPath,
    store: common.StorePath,
    out: common.Out,
    format: Annotated[Literal["parquet", "npy"], typer.Option(help="Format inside a folder.")] = "parquet",
    batch_events: Annotated[int, typer.Option(help="Events per forward pass, about.", min=1)] = 8192,
    allow_module: common.AllowModule = None,
    overwrite: common.Overwrite = False,
) -> None:
    """Export user embeddings, keyed by your ids. OUT.parquet is one file; a folder also holds the item vectors."""
    from usermodel.embeddings.files import KIND, save_tables
    from usermodel.embeddings.user_encoder import UserEncoder
    from usermodel.manifest import refuse_existing
    from usermodel.store.sequence_store import SequenceStore

    refuse_existing(out, KIND, overwrite)
    encoder = UserEncoder.load(run, allow_modules=allow_module or ())
    opened = SequenceStore.open(store, verify=True)
    with common.progress("embedding", "users") as update:
        users = encoder.encode(opened, batch_events=batch_events, on_progress=update)
    save_tables(out, users, encoder.items(), form=format, overwrite=overwrite)
    common.say_unknown(encoder.n_unknown_items(opened), users.columns)
    common.say(f"wrote {len(users):,} user vectors of width {users.dim} to {out}")
