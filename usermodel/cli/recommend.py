"""usermodel recommend"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from usermodel.cli import common
from usermodel.cli.ids import HELP, read_ids


def recommend(
    run: common.RunPath,
    store: common.StorePath,
    users: Annotated[str, typer.Option(help=HELP, show_default=False)],
    k: Annotated[int, typer.Option("-k", help="Items a user.", min=1)] = 10,
    index: Annotated[
        Path | None, typer.Option(help="An index of this run; without it one is made in memory.")
    ] = None,
    rebuild: Annotated[
        bool,
        typer.Option("--rebuild", help="Build an --index that is stale or damaged again, and write it back."),
    ] = False,
    format: common.RowFormat = None,
    out: common.RowsOut = None,
    keep_seen: Annotated[
        bool, typer.Option("--keep-seen", help="Do not leave out what a user already took.")
    ] = False,
    allow: Annotated[
        str | None,
        typer.Option(help="Only these items: ids, or a file of them, written as for --users."),
    ] = None,
    deny: Annotated[str | None, typer.Option(help="Never these items, written alike.")] = None,
    allow_module: common.AllowModule = None,
    overwrite: common.Overwrite = False,
) -> None:
    """Recommend items to users from all their events; what they already took is left out."""
    from usermodel.cli.rows import put
    from usermodel.embeddings.user_encoder import UserEncoder
    from usermodel.errors import ConfigError
    from usermodel.retrieval.item_index import ItemIndex
    from usermodel.store.sequence_store import SequenceStore

    opened, allowed = SequenceStore.open(store), allow_module or ()
    if index is not None:
        with common.plain_warnings():
            found = ItemIndex.load(index, rebuild=rebuild, allow_modules=allowed)
    elif rebuild:
        do = "Name one with --index, or drop --rebuild."
        raise ConfigError("--rebuild", expected="an index to rebuild", found="none", do=do)
    else:
        # Whatever the catalogue: an index for one question is not worth building.
        found = ItemIndex.build(run, kind="flat", allow_modules=allowed)
    encoder = UserEncoder.load(run, allow_modules=allowed)
    table = encoder.encode(opened, users=read_ids(users, opened.users.kind, known=opened.users.ids))
    common.say_unknown(encoder.n_unknown_items(opened), table.columns)
    kind, items = found.vocabulary.kind, found.vocabulary.ids
    with common.plain_warnings():
        best = found.recommend(
            table,
            k,
            exclude_seen=None if keep_seen else opened,
            allow=None if allow is None else read_ids(allow, kind, "--allow", items),
            deny=None if deny is None else read_ids(deny, kind, "--deny", items),
        )
    put(best, f"The best {k} items of each user", out, format, overwrite=overwrite)
