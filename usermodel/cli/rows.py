"""Rows that a command found: printed, or written to a file."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from usermodel.cli import common

if TYPE_CHECKING:
    import polars as pl


def put(
    rows: pl.DataFrame,
    title: str,
    out: Path | None,
    form: Literal["table", "json", "csv", "parquet"] | None,
    *,
    overwrite: bool,
    kind: str = "recommendations",
) -> None:
    """Write rows to ``out``, or print them in a format."""
    from usermodel.retrieval.output import write_recommendations

    if out is not None:
        write_recommendations(rows, out, None if form == "table" else form, overwrite=overwrite, kind=kind)
        common.say(f"wrote {rows.height:,} rows to {out}")
    elif form in {None, "table"}:
        common.print_table(title, rows.columns, rows.rows())
    elif form == "parquet":
        made = io.BytesIO()
        rows.write_parquet(made)
        with common.printing():
            sys.stdout.buffer.write(made.getvalue())
    else:
        text = rows.write_csv() if form == "csv" else rows.write_json() + "\n"
        with common.printing():
            sys.stdout.write(text)
