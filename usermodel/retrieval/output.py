"""Recommendations as a file, written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import polars as pl

from usermodel import manifest
from usermodel.errors import DataError
from usermodel.events.parquet import write_parquet

Form = Literal["json", "csv", "parquet"]


def write_recommendations(
    rows: pl.DataFrame,
    path: Path,
    form: Form | None = None,
    *,
    overwrite: bool = False,
    kind: str = "recommendations",
) -> None:
    """Write ``user_id rank item_id score``, with a manifest beside it.

    Args:
        rows: What `ItemIndex.recommend` returned.
        path: The file.
        form: Format; None goes by the suffix.
        overwrite: Replace an older output.
        kind: What the manifest calls it.
    """
    if form is None and path.suffix[1:] not in get_args(Form):
        do = "Name the format with --format."
        raise DataError(
            str(path), expected="a .json, .csv or .parquet file", found=f"the suffix {path.suffix!r}", do=do
        )
    form = form or path.suffix[1:]  # type: ignore[assignment]
    with manifest.write_file(path, kind, overwrite=overwrite) as draft:
        if form == "parquet":
            write_parquet(rows, draft.path)
        else:
            draft.path.write_text(
                rows.write_csv() if form == "csv" else rows.write_json() + "\n", encoding="utf-8"
            )
        draft.meta.update(n_rows=rows.height)
