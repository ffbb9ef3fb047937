"""Embedding tables on disk: Parquet with page checksums, or npy beside a Parquet file of ids."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import numpy as np
import polars as pl

from usermodel import manifest
from usermodel.embedding_table import EmbeddingTable
from usermodel.errors import DataError, IntegrityError
from usermodel.events.parquet import read_parquet, write_parquet

KIND: Final = "embeddings"
Format = Literal["parquet", "npy"]


def save_tables(
    path: str | Path,
    users: EmbeddingTable,
    items: EmbeddingTable,
    *,
    form: Format = "parquet",
    overwrite: bool = False,
) -> None:
    """Write user vectors, and item vectors beside them when ``path`` is a folder.

    Args:
        path: ``NAME.parquet`` is one file of user vectors; any other name is a folder with ``users.*`` and ``items.*``.
        users: User vectors.
        items: Item vectors of the same encoder.
        form: Format inside a folder: one Parquet file per table, or ``.npy`` vectors with ids in Parquet.
        overwrite: Replace an older output.
    """
    path = Path(path)
    if path.suffix == ".parquet":
        with manifest.write_file(path, KIND, overwrite=overwrite) as draft:
            write_parquet(users.to_polars(), draft.path)
            draft.meta.update(_facts(users))
        return
    if path.suffix in {".npy", ".csv", ".json", ".safetensors"}:
        do = "Name a .parquet file, or a folder with --format npy: ids need a file of their own there."
        raise DataError(
            str(path), expected="NAME.parquet or a folder", found=f"the suffix {path.suffix}", do=do
        )
    with manifest.write_directory(path, KIND, overwrite=overwrite) as draft:
        for name, table in (("users", users), ("items", items)):
            _write(table, draft.path, name, form)
        draft.meta.update(_facts(users), n_items=len(items), format=form)


def _facts(table: EmbeddingTable) -> dict[str, object]:
    totals = [name for name in ("n_events", "n_unknown") if name in table.columns.columns]
    return {
        "n_users": len(table),
        "dim": table.dim,
        "dtype": str(table.vectors.dtype),
        "encoder_hash": table.encoder_hash,
        **{name: int(table.columns[name].sum()) for name in totals},
    }


def _write(table: EmbeddingTable, folder: Path, name: str, form: Format) -> None:
    if form == "parquet":
        write_parquet(table.to_polars(), folder / f"{name}.parquet")
        return
    np.save(folder / f"{name}.npy", np.ascontiguousarray(table.vectors))
    write_parquet(table.to_polars().drop("embedding"), folder / f"{name}.ids.parquet")


def load_table(path: str | Path, which: Literal["users", "items"] = "users") -> EmbeddingTable:
    """Read a table written by `save_tables`.

    Raises:
        IntegrityError: The files are damaged.
    """
    path = Path(path)
    facts = manifest.read(path, KIND, verify=True).meta
    file = path if path.is_file() else path / f"{which}.parquet"
    if file.is_file():
        frame = read_parquet(file)
        if "embedding" not in frame.columns or not isinstance(frame.schema["embedding"], pl.Array):
            raise IntegrityError(
                str(file), expected="a column 'embedding'", found=str(frame.schema), do="Embed again."
            )
        vectors = frame["embedding"].to_numpy()
        frame = frame.drop("embedding")
    else:
        frame = read_parquet(path / f"{which}.ids.parquet")
        vectors = np.load(path / f"{which}.npy", mmap_mode="r", allow_pickle=False)
    name = frame.columns[0]
    return EmbeddingTable(frame[name], vectors, facts["encoder_hash"], frame.drop(name), name)
