"""Where vectors come from: items of a run or an export, and users to tune an index with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from usermodel import manifest
from usermodel.embedding_table import EmbeddingTable
from usermodel.embeddings.files import KIND as EMBEDDINGS
from usermodel.embeddings.user_encoder import UserEncoder
from usermodel.errors import MissingError
from usermodel.retrieval.tuning import N_QUERIES
from usermodel.store.sequence_store import SequenceStore


def has_users(source: Path) -> bool:
    """Whether a source is a folder of embeddings, which holds users beside the items."""
    return manifest.read(source).kind == EMBEDDINGS


def items_of(source: Path, allow_modules: Sequence[str]) -> EmbeddingTable:
    """Item vectors of a run, an encoder folder or a folder of embeddings."""
    if has_users(source):
        return EmbeddingTable.load(source, "items")
    return UserEncoder.load(source, allow_modules=allow_modules).items()


def sample_of(run: Path, store: SequenceStore, allow_modules: Sequence[str]) -> EmbeddingTable:
    """Vectors of as many users as tuning draws, evenly over a store."""
    rows = np.linspace(0, store.n_users - 1, min(N_QUERIES, store.n_users)).astype(np.int64)
    encoder = UserEncoder.load(run, allow_modules=allow_modules)
    return encoder.encode(store, users=store.users.decode(np.unique(rows) + 1).to_list())


def around(
    path: Path, facts: Mapping[str, Any], allow_modules: Sequence[str]
) -> tuple[EmbeddingTable, Path, Path | None]:
    """What a file needs beside itself: the vectors of its source, the source, and the store that it was tuned with.

    Args:
        path: The file.
        facts: Those of its manifest, which has the others relative to it.
        allow_modules: Modules outside usermodel whose classes the saved encoder may name.

    Raises:
        MissingError: The source is gone.
    """
    source = path.parent / str(facts.get("source"))
    if not source.exists():
        do = "Build the index again from its run, or as a folder, which needs no run."
        raise MissingError(str(path), expected=f"its run at {source}", found="nothing there", do=do)
    store = facts.get("users_of")
    return items_of(source, allow_modules), source, None if store is None else path.parent / str(store)
