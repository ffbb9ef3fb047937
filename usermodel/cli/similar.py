"""usermodel similar"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from usermodel.cli import common
from usermodel.cli.ids import HELP, read_ids


def similar(
    index: Annotated[
        Path, typer.Argument(help="An index made by 'usermodel index --of users'.", show_default=False)
    ],
    users: Annotated[str, typer.Option(help=HELP, show_default=False)],
    k: Annotated[
        int, typer.Option("-k", help="Users to find: for each, or in all with --expand.", min=1)
    ] = 10,
    expand: Annotated[
        bool, typer.Option("--expand", help="One audience that looks like all of them together.")
    ] = False,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Build a damaged index again, and write it back.")
    ] = False,
    format: common.RowFormat = None,
    out: common.RowsOut = None,
    overwrite: common.Overwrite = False,
) -> None:
    """Find users who are like some users; the users asked about are left out."""
    from usermodel.cli.rows import put
    from usermodel.retrieval.user_index import UserIndex

    with common.plain_warnings():
        opened = UserIndex.load(index, rebuild=rebuild)
    known = opened.table.ids
    ids = read_ids(users, "int" if known.dtype.is_integer() else "string", known=known)
    found = opened.expand(ids, k) if expand else opened.similar(ids, k)
    title = f"The {k} users most like all of them" if expand else f"The {k} users most like each"
    put(found, title, out, format, overwrite=overwrite)
