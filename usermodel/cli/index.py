"""usermodel index"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from usermodel.cli import common


def index(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|EMB", help="A run, or a folder made by 'usermodel embed'.", show_default=False
        ),
    ],
    out: common.Out,
    allow_module: common.AllowModule = None,
    overwrite: common.Overwrite = False,
) -> None:
    """Index the items for retrieval with FAISS. A folder stands alone; a file such as items.faiss needs its run."""
    from usermodel.retrieval.item_index import ItemIndex

    built = ItemIndex.build(source, allow_modules=allow_module or ())
    built.save(out, overwrite=overwrite)
    common.say(f"wrote a flat index of {len(built):,} items to {out}")
