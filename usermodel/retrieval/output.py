"""Recommendations as a file, written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import polars as pl

from usermodel import manifest
from usermodel.events.parquet import write_parquet


def write_recommendations(
    rows: pl.DataFrame, path: Path, form: Literal["json", "csv", "parquet"], *, overwrite: bool = False
) -> None:
    """Write ``user_id rank item_id score`` as JSON, CSV or Parquet, with a manifest beside it."""
    with manifest.write_file(path, "recommendations", overwrite=overwrite) as draft:
        if form == "parquet":
            write_parquet(rows, draft.path)
        else:
            draft.path.write_text(rows.write_csv() if form == "csv" else rows.write_json() + "\n", encoding="utf-8")
        draft.meta.update(n_rows=rows.height)
