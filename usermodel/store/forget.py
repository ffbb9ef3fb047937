"""Removing users from a store, physically: their events, their ids and their rows in side tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Int32
from numpy import ndarray

from usermodel import manifest
from usermodel.errors import DataError
from usermodel.events.codes import count, take
from usermodel.events.rejects import QUARANTINE
from usermodel.events.vocabulary import Vocabulary
from usermodel.schema import SESSION
from usermodel.store.append import ADDED_TO
from usermodel.store.contents import Contents
from usermodel.store.sequence_store import KIND, SequenceStore
from usermodel.store.tables import FOLDER, keep_users


@dataclass(frozen=True)
class Receipt:
    """What was removed from where.

    Attributes:
        path: The store.
        asked: Distinct ids that were to be forgotten.
        found: Those of them that the store knew.
        unknown: Those that it did not.
        events: Events removed.
        tables: Rows removed from each side table.
        quarantined: Bad rows removed: nobody can say whose they are, so all of them go.
    """

    path: str
    asked: int
    found: int
    unknown: int
    events: int
    tables: dict[str, int]
    quarantined: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def forget(store: SequenceStore, users: pl.Series) -> Receipt:
    """Write a store anew without some users, in one atomic step.

    No file of the folder holds their ids, events or side-table rows afterwards; ids of events in files elsewhere, in
    runs and in embeddings are not touched. Item indices and codes of categories do not move, so encoders stay valid; other
    users move up. Sessions that no event is left of go too, and the codes of the others move up.

    Args:
        store: The store to rewrite; the object itself still shows the old one, open it again.
        users: External ids; ids that the store does not know are counted.

    Returns:
        The receipt. When the store knows none of the users, and holds no quarantined rows, it is left as it is.

    Raises:
        DataError: Ids of another type, or nobody with events would be left.
        MismatchError: The store was replaced since it was opened: users forgotten in between would come back.
    """
    store.require_current()
    asked = users.drop_nulls().unique()
    index = store.users.encode(asked)
    rows = index[index > 0] - 1
    keep = np.ones(store.n_users, dtype=bool)
    keep[rows] = False
    if not np.diff(store.offsets)[keep].any():
        do = "Delete the folder."
        raise DataError(str(store.path), expected="a user with events who stays", found="none", do=do)
    quarantine = store.folder / QUARANTINE
    bad_rows = quarantine.read_bytes().count(b"\n") if quarantine.is_file() else 0
    if keep.all() and not bad_rows:
        tables = dict.fromkeys(store.meta.get(FOLDER, {}), 0)
        return Receipt(str(store.path), len(asked), 0, len(asked), 0, tables)
    contents = _without(store, keep)
    events = store.n_events - len(contents.times)
    with manifest.write_directory(store.folder, KIND, overwrite=True) as draft:
        contents.write(draft.path)
        facts, tables = keep_users(store, keep, draft.path)
        draft.meta.update(store.meta)
        draft.meta.update(contents.facts())
        draft.meta.pop(ADDED_TO, None)  # who comes back would look like one who never left
        if facts:
            draft.meta[FOLDER] = facts
        counts = store.meta["rows"]
        draft.meta["rows"] = counts | {
            "accepted": counts["accepted"] - events,
            "forgotten": counts.get("forgotten", 0) + events,
        }
        store.require_current()
    unknown = len(asked) - len(rows)
    return Receipt(str(store.path), len(asked), len(rows), unknown, events, tables, bad_rows)


def _without(store: SequenceStore, keep: Bool[ndarray, " users"]) -> Contents:
    length = np.diff(store.offsets)
    event = np.repeat(keep, length)
    offsets = np.r_[np.int64(0), np.cumsum(length[keep])]
    features: dict[str, Callable[[], ndarray]]
    features = {name: lambda name=name: store.feature(name)[event] for name in store.features}  # type: ignore[misc]
    categories = store.all_categories()
    if SESSION in categories:
        number, categories[SESSION] = _renumbered(store.feature(SESSION)[event], categories[SESSION])
        features[SESSION] = lambda: take(number, store.feature(SESSION)[event])
    users = Vocabulary(store.users.ids.filter(pl.Series(keep)))
    items, times = store.items[event], store.times[event]
    return Contents(users, store.vocabulary, offsets, items, times, features, categories, store.context)


def _renumbered(
    codes: Int32[ndarray, " events"], vocabulary: Vocabulary
) -> tuple[Int32[ndarray, " values+1"], Vocabulary]:
    """A new code for each old one, and a vocabulary of what is used: a session is somebody's, and its id may name them."""
    used = count(codes, vocabulary.size) > 0
    # 0 stays 0: no session.
    used[0] = False
    number = np.cumsum(used, dtype=np.int32)
    number[~used] = 0
    return number, Vocabulary(vocabulary.ids.filter(pl.Series(used[1:])))
