"""Parquet files with page checksums: without them half of all flipped bits load as wrong values in silence."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from usermodel.errors import IntegrityError


def write_parquet(table: pa.Table | pl.DataFrame, path: Path) -> None:
    """Write with page checksums, zstd, and fixed settings, so that equal tables give equal bytes."""
    arrow = table.to_arrow() if isinstance(table, pl.DataFrame) else table
    pq.write_table(arrow, path, compression="zstd", write_page_checksum=True, store_schema=True)


def read_parquet(path: Path, columns: list[str] | None = None) -> pl.DataFrame:
    """Read a file of ours, checking the page checksums.

    Raises:
        IntegrityError: The file is damaged or not Parquet.
    """
    try:
        table = pq.read_table(path, columns=columns, page_checksum_verification=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        do = "Copy or make the artefact again."
        # Of a file that is not there, pyarrow says its name only.
        found = f"{error!s:.80}" if path.exists() else "nothing there"
        raise IntegrityError(str(path), expected="an intact Parquet file", found=found, do=do) from None
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame
