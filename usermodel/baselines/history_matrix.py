"""Who took what, as a sparse matrix."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64
from numpy import ndarray
from scipy import sparse

from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore


def history_matrix(
    store: SequenceStore, users: Int64[ndarray, " n"], start: Int64[ndarray, " n"], stop: Int64[ndarray, " n"]
) -> sparse.csr_array:
    """``[users of the store, items]``, 1 where one of ``users`` took an item in their store rows ``start`` to ``stop``."""
    lengths = np.maximum(stop - start, 0)
    first = np.cumsum(lengths) - lengths
    rows = np.repeat(start - first, lengths) + np.arange(lengths.sum())
    owner, ones = np.repeat(users, lengths), np.ones(len(rows))
    matrix = sparse.csr_array((ones, (owner, store.items[rows] - 1)), shape=(store.n_users, store.n_items))
    # However often.
    matrix.data[:] = 1.0
    return matrix


def before_targets(store: SequenceStore, labels: Examples) -> sparse.csr_array:
    """`history_matrix` of everything before each target."""
    return history_matrix(store, labels.user, store.offsets[labels.user], labels.stop)
