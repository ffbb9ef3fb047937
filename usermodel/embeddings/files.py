"""User and item vectors side by side on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from usermodel import manifest
from usermodel.embedding_files.precision import Dtype
from usermodel.embedding_files.table import SINGLE, Format, open_writer
from usermodel.embedding_table import KIND as TABLE
from usermodel.embedding_table import EmbeddingTable

KIND: Final = TABLE
USERS: Final = "users"
ITEMS: Final = "items"


def save_tables(
    path: str | Path,
    users: EmbeddingTable,
    items: EmbeddingTable,
    *,
    form: Format = "parquet",
    dtype: Dtype = "float32",
    overwrite: bool = False,
) -> None:
    """Write user vectors, and item vectors beside them when ``path`` is a folder.

    Args:
        path: ``NAME.parquet`` or ``NAME.safetensors`` is one file of user vectors; any other name is a folder.
        users: User vectors.
        items: Item vectors of the same encoder; always float32, because every score needs them.
        form: Format inside a folder.
        dtype: How user vectors are stored.
        overwrite: Replace an older output.
    """
    path = Path(path)
    if path.suffix in SINGLE:
        users.save(path, dtype=dtype, overwrite=overwrite)
        return
    with manifest.write_directory(path, KIND, overwrite=overwrite) as draft:
        draft.meta.update(items.write(open_writer(draft.path, ITEMS, form)))
        draft.meta.update(users.write(open_writer(draft.path, USERS, form), dtype), format=form)


def load_table(path: str | Path, which: Literal["users", "items"] | None = None) -> EmbeddingTable:
    """See `EmbeddingTable.load`."""
    return EmbeddingTable.load(path, which)
