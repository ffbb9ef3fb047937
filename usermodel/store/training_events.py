"""The events that may be trained on, one by one: what counts and models of pairs are made of."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int64
from numpy import ndarray

from usermodel.events.splits import Split
from usermodel.store.sequence_store import SequenceStore


def training_events(
    store: SequenceStore, split: Split
) -> tuple[Int64[ndarray, " rows"], Int64[ndarray, " rows"]]:
    """User, 0 to n_users - 1, and item, 1 to n_items, of each event of the training part, in store order."""
    keep = in_training(store, split)
    owner = np.repeat(np.arange(store.n_users), np.diff(store.offsets))
    return owner[keep], store.items[keep].astype(np.int64)


def in_training(store: SequenceStore, split: Split) -> Bool[ndarray, " events"]:
    """Whether each event is in the training part."""
    row, lengths = np.arange(store.n_events), np.diff(store.offsets)
    found: ndarray = (np.repeat(split.start, lengths) <= row) & (row < np.repeat(split.train_stop, lengths))
    return found
