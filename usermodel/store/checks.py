"""What a folder must obey to be a store. A repaired hash must not be enough to read outside a column."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import numpy as np

from usermodel.schema import TimeKind, has_codes

if TYPE_CHECKING:
    from usermodel.store.sequence_store import SequenceStore


def check_structure(store: SequenceStore) -> None:
    """Shapes, types, and offsets that stay inside; the columns of events are not read."""
    offsets, items, times = store.offsets, store.items, store.times
    n_users, n_events = store.n_users, store.n_events
    fits = (
        offsets.dtype == np.int64 and offsets.shape == (n_users + 1,) and n_users > 0,
        items.dtype == np.int32 and items.shape == (n_events,),
        times.dtype == np.int64 and times.shape == (n_events,),
    )
    if not all(fits):
        found = f"columns of shape {offsets.shape}, {items.shape}, {times.shape}"
        raise store.damaged(f"{n_users:,} users with {n_events:,} events", found)
    if offsets[0] != 0 or offsets[-1] != n_events or bool((np.diff(offsets) < 0).any()):
        raise store.damaged("offsets that rise from 0 to the number of events", "others")
    if store.time_kind not in get_args(TimeKind):
        raise store.damaged(f"a time_kind of {get_args(TimeKind)}", repr(store.time_kind))
    for name in store.features:
        column = store.feature(name)
        codes = has_codes(name, store.context)
        if column.shape != (n_events,) or column.dtype.kind not in ("i" if codes else "if"):
            raise store.damaged(f"{name} as {n_events:,} numbers", f"{column.dtype} {column.shape}")


def check_events(store: SequenceStore) -> None:
    """Content, which reads every column: indices and codes that exist, times that never fall, the right number of ids."""
    items, times, first = store.items, store.times, store.offsets[1:-1]
    if not 1 <= int(items.min()) <= int(items.max()) <= store.n_items:
        raise store.damaged(f"item indices 1 to {store.n_items:,}", f"{items.min()} to {items.max()}")
    falls = np.diff(times) < 0
    falls[first[(first > 0) & (first < len(times))] - 1] = False
    if falls.any():
        raise store.damaged(
            "times that never fall within a user", f"a fall at row {int(falls.argmax()) + 1:,}"
        )
    if len(store.vocabulary) != store.n_items or len(store.users) != store.n_users:
        found = f"{len(store.vocabulary):,} and {len(store.users):,}"
        raise store.damaged(f"{store.n_items:,} item ids and {store.n_users:,} user ids", found)
    for name, categories in store.all_categories().items():
        codes = store.feature(name)
        if not 0 <= int(codes.min()) <= int(codes.max()) <= len(categories):
            found = f"{codes.min()} to {codes.max()}"
            raise store.damaged(f"codes of {name} from 0 to {len(categories):,}", found)
