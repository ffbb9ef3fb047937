"""What exported embeddings hold: facts, lengths, health."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy import ndarray

from usermodel.embedding_table import EmbeddingTable
from usermodel.embeddings.files import load_table
from usermodel.errors import ConfigError
from usermodel.manifest import Manifest
from usermodel.metrics.embedding_health import moments
from usermodel.report.description import Description, spread
from usermodel.report.health import flat, health, of_what
from usermodel.store.sequence_store import SequenceStore


def describe_embeddings(path: Path, found: Manifest, store: SequenceStore | None) -> Description:
    """Facts and health of a file or folder of embeddings.

    Raises:
        ConfigError: A store, but no item vectors, which every figure that reads it needs.
        NumericError: A vector is not finite.
    """
    names = {name.partition(".")[0] for name in found.files}
    users = main_table(path, found)
    items = load_table(path, "items") if path.is_dir() and {"users", "items"} <= names else None
    if store is not None and items is None:
        do = "Embed into a folder (-o NAME), which holds the item vectors too."
        found_here = f"vectors of {of_what(users)} alone"
        raise ConfigError("--store", expected="it beside item vectors", found=found_here, do=do)
    seen = moments(flat(users))
    facts = dict(found.meta) | spread("norm", seen.norms)
    vectors = users.to_numpy()
    facts["empty_histories"] = len(users) - int(vectors.any(axis=tuple(range(1, vectors.ndim))).sum())
    bars = {"length of the vectors": _bars(seen.norms)}
    return Description(found.kind, facts, bars, health(users, items, store, seen=seen))


def main_table(path: Path, found: Manifest) -> EmbeddingTable:
    """The users of a folder, its items where it holds nothing else, or what a single file holds."""
    if path.is_file():
        return EmbeddingTable.load(path)
    return load_table(path, "users" if any(name.startswith("users.") for name in found.files) else "items")


def _bars(norms: ndarray) -> list[tuple[str, int]]:
    if not len(norms):
        return []
    counts, edges = np.histogram(norms, bins=10)
    spans = zip(edges[:-1], edges[1:], counts, strict=True)
    return [(f"{low:.2f} - {high:.2f}", int(n)) for low, high, n in spans]
