"""usermodel score"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from usermodel.cli import common


def score(
    run: common.RunPath,
    store: common.StorePath,
    head: Annotated[Path, typer.Option(help="A head that evaluate --save-head wrote.", show_default=False)],
    rows: Annotated[
        Path,
        typer.Option(
            help="Parquet or CSV: user_id, item_id, timestamp, and the further columns that the head was trained with.",
            show_default=False,
        ),
    ],
    format: common.RowFormat = None,
    out: common.RowsOut = None,
    allow_module: common.AllowModule = None,
    overwrite: common.Overwrite = False,
) -> None:
    """What a saved head says of rows to come, clicks or watch time: each row as it is, with a column more."""
    from usermodel.benchmark.score_rows import load_scorer, score_rows
    from usermodel.cli.rows import put
    from usermodel.errors import DataError
    from usermodel.store.sequence_store import SequenceStore
    from usermodel.store.table_input import read_frame

    allowed = allow_module or ()
    scorer = load_scorer(head, allow_modules=allowed)
    given = read_frame(rows, scorer.features.text)
    nested = [column.name for column in given if column.dtype.is_nested()]
    if nested and (format or (out.suffix[1:] if out else "")) == "csv":
        do = "Write Parquet or JSON, or drop the column."
        raise DataError(f"column {nested[0]!r}", expected="one value each, for CSV", found="lists", do=do)
    with common.progress("encoding", "histories") as update:
        found = score_rows(
            run, SequenceStore.open(store), scorer, given, allow_modules=allowed, on_progress=update
        )
    put(found, f"{scorer.column}: {scorer.label}", out, format, overwrite=overwrite, kind="scores")
