"""Health of exported vectors: the figures of `usermodel.metrics` that the tables at hand allow.

Positive pairs for the alignment are a user and the item of the latest event that the user's vector has seen. Where a user has
several vectors, each of them counts on its own, and there is no alignment, because nothing says which one an item belongs to.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Float, Int64
from numpy import ndarray

from usermodel.embedding_table import EmbeddingTable
from usermodel.errors import MismatchError
from usermodel.metrics.duplicates import duplicates
from usermodel.metrics.embedding_health import Moments, alignment, even_uniformity, moments, uniformity
from usermodel.metrics.popularity_leakage import popularity_r2
from usermodel.report.advice import Finding
from usermodel.store.sequence_store import SequenceStore

_EVENTS: Final = 1 << 22


def health(
    users: EmbeddingTable,
    items: EmbeddingTable | None = None,
    store: SequenceStore | None = None,
    *,
    seen: Moments | None = None,
) -> list[Finding]:
    """Figures about user vectors, about item vectors when they are given, and about both when the store is given too.

    A figure that needs what is not there, such as two vectors, is left out.

    Args:
        users: User vectors, or item vectors where there are no others; ``n_events`` among their columns says how much of the store they have seen.
        items: Item vectors of the same encoder.
        store: What the vectors were made from, or what it has grown into.
        seen: Moments of the user vectors, if they are known already.

    Raises:
        NumericError: A vector is not finite.
        MismatchError: The store shares no user, or no item, with the tables.
        DataError: The store has ids of another type.
    """
    found = _table(of_what(users), flat(users), seen or moments(flat(users)))
    if items is None:
        return found
    of_items = moments(flat(items))
    found += _table("items", flat(items), of_items)
    if store is not None:
        found += _popularity(items, of_items, store)
        found += _alignment(users, items, store) if users.to_numpy().ndim == 2 else []
    return found


def of_what(table: EmbeddingTable) -> str:
    """``users`` or ``items``."""
    return f"{table.name.removesuffix('_id')}s"


def flat(table: EmbeddingTable) -> Float[ndarray, "n dim"]:
    """One row for each vector, also where an id has several."""
    return table.to_numpy().reshape(-1, table.to_numpy().shape[-1])


def _table(group: str, vectors: Float[ndarray, "n dim"], seen: Moments) -> list[Finding]:
    dim = vectors.shape[1]
    twice = duplicates(vectors)
    figures: list[tuple[str, float | None, float | None, str]] = [
        ("effective_rank", seen.effective_rank(), float(dim), "dimensions"),
        ("uniformity", uniformity(vectors), even_uniformity(dim), "even"),
        ("shared_length", seen.shared_length(), None, ""),
        ("norm_variation", seen.norm_variation(), None, ""),
        ("dead_dimensions", seen.dead_dimensions(), float(dim), "dimensions"),
        ("near_duplicates", twice.near if twice else None, None, ""),
        ("exact_duplicates", twice.exact if twice else None, None, ""),
    ]
    return [
        Finding(group, name, value, reference, beside)
        for name, value, reference, beside in figures
        if value is not None
    ]


def _popularity(items: EmbeddingTable, seen: Moments, store: SequenceStore) -> list[Finding]:
    index = store.vocabulary.encode(items.ids).astype(np.int64)
    known = np.flatnonzero(index)
    _require(len(known), "item", items, store)
    counts = np.zeros(store.n_items + 1, dtype=np.int64)
    for start in range(0, store.n_events, _EVENTS):
        counts += np.bincount(store.items[start : start + _EVENTS], minlength=len(counts))
    counts, vectors = counts[index[known]], items.to_numpy()
    vectors = vectors if len(known) == len(vectors) else vectors[known]
    found = {
        "popularity_r2": popularity_r2(vectors, counts),
        "popularity_r2_of_norm": popularity_r2(seen.norms[known, None], counts),
    }
    return [Finding("items", name, value) for name, value in found.items() if value is not None]


def _alignment(users: EmbeddingTable, items: EmbeddingTable, store: SequenceStore) -> list[Finding]:
    rows, latest = _latest(users, store)
    place = np.full(store.n_items + 1, -1, dtype=np.int64)
    place[store.vocabulary.encode(items.ids)] = np.arange(len(items))
    place[0] = -1
    right = place[latest]
    found = alignment(users.to_numpy(), items.to_numpy(), rows[right >= 0], right[right >= 0])
    if found is None:
        return []
    return [Finding("pairs", "alignment", found.value, found.chance, "chance")]


def _latest(
    users: EmbeddingTable, store: SequenceStore
) -> tuple[Int64[ndarray, " pairs"], Int64[ndarray, " pairs"]]:
    """Rows of the table whose user the store knows, and the item of the latest event that each vector has seen.

    ``n_events`` says how many of the user's events had happened by then: the store may have grown since.
    """
    user = store.users.encode(users.ids).astype(np.int64) - 1
    rows = np.flatnonzero(user >= 0)
    _require(len(rows), "user", users, store)
    first, stop = store.offsets[user[rows]], store.offsets[user[rows] + 1]
    if "n_events" in users.columns.columns:
        stop = first + users.columns["n_events"].to_numpy()[rows]
    there = (stop > first) & (stop <= store.offsets[user[rows] + 1])
    return rows[there], store.items[stop[there] - 1].astype(np.int64)


def _require(n: int, what: str, table: EmbeddingTable, store: SequenceStore) -> None:
    if not n and len(table):
        found = f"none of the {len(table):,}"
        do = "Name the store that the vectors were made from."
        raise MismatchError(str(store.path), expected=f"{what}s of the embeddings", found=found, do=do)
