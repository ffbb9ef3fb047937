"""usermodel recommend"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from usermodel.cli import common


def recommend(
    run: common.RunPath,
    store: common.StorePath,
    users: Annotated[
        str, typer.Option(help="Ids separated by commas, or a file with one id a line.", show_default=False)
    ],
    k: Annotated[int, typer.Option("-k", help="Items a user.", min=1)] = 10,
    index: Annotated[
        Path | None, typer.Option(help="An index of this run; without it one is made in memory.")
    ] = None,
    format: Annotated[
        Literal["table", "json", "csv", "parquet"] | None,
        typer.Option(
            help="How to print or write. [default: a table; for -o by the suffix]", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write instead of printing.")
    ] = None,
    keep_seen: Annotated[
        bool, typer.Option("--keep-seen", help="Do not leave out what a user already took.")
    ] = False,
    allow_module: common.AllowModule = None,
    overwrite: common.Overwrite = False,
) -> None:
    """Recommend items to users from all their events; what they already took is left out."""
    from usermodel.embeddings.user_encoder import UserEncoder
    from usermodel.retrieval.item_index import ItemIndex
    from usermodel.retrieval.output import write_recommendations
    from usermodel.store.sequence_store import SequenceStore

    opened = SequenceStore.open(store)
    found = (
        ItemIndex.load(index, allow_modules=allow_module or ())
        if index is not None
        else ItemIndex.build(run, allow_modules=allow_module or ())
    )
    encoder = UserEncoder.load(run, allow_modules=allow_module or ())
    table = encoder.encode(opened, users=_ids(users, opened.users.kind))
    common.say_unknown(encoder.n_unknown_items(opened), table.columns)
    best = found.recommend(table, k, exclude_seen=None if keep_seen else opened)
    if out is not None:
        write_recommendations(best, out, None if format == "table" else format, overwrite=overwrite)
        common.say(f"wrote {best.height:,} recommendations to {out}")
    elif format in {None, "table"}:
        common.print_table(f"The best {k} items of each user", best.columns, best.rows())
    elif format == "parquet":
        best.write_parquet(sys.stdout.buffer)
    else:
        sys.stdout.write(best.write_csv() if format == "csv" else best.write_json() + "\n")


def _ids(users: str, kind: str) -> list[str] | list[int]:
    from usermodel.errors import DataError

    path = Path(users)
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else users.split(",")
    ids = list(dict.fromkeys(word.strip() for word in lines if word.strip()))
    if not ids:
        raise DataError(
            "--users", expected="at least one id", found=repr(users), do="For example --users A,B."
        )
    if kind == "string":
        return ids
    wrong = [word for word in ids if not word.lstrip("-").isdigit()]
    if wrong:
        raise DataError(
            "--users", expected="integer ids, as in this store", found=repr(wrong[0]), do="Check the ids."
        )
    return [int(word) for word in ids]
