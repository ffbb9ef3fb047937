"""The most similar item of each item, by the users who took both."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from jaxtyping import Int64, Integer
from numpy import ndarray
from scipy import sparse
from torch import Tensor, nn

from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore

#: Pairs of items that are counted at once, about: 16 bytes each.
PAIRS: Final = 1 << 22


class SimilarItems(nn.Module):
    """`most_similar` of the training histories, counted at the start of the first epoch and kept.

    Args:
        n_items: Items of the catalogue.
    """

    def __init__(self, n_items: int) -> None:
        super().__init__()
        self.register_buffer("most_similar", torch.zeros(n_items + 1, dtype=torch.int64))
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))
        self.most_similar: Tensor
        self.fitted: Tensor

    def fit_once(self, store: SequenceStore, examples: Examples) -> None:
        """Count in the slices of ``examples``, which are training data; nothing if that was done before.

        Windows of `AllPositionsConfig` hold every training event of users with two or more, wherever their borders are, so
        one epoch is as good as another. What a sampler leaves out is not counted.
        """
        if bool(self.fitted):
            return
        offsets = examples.offsets
        rows = np.repeat(examples.start - offsets[:-1], examples.lengths) + np.arange(offsets[-1])
        found = most_similar(
            np.repeat(examples.user, examples.lengths), store.items[rows], len(self.most_similar) - 1
        )
        self.most_similar.copy_(torch.from_numpy(found))
        self.fitted.fill_(True)


def most_similar(
    user: Integer[ndarray, " events"], item: Integer[ndarray, " events"], n_items: int
) -> Int64[ndarray, " table"]:
    """The other item with the largest ``sum over users of both of 1 / log(1 + n_u) / sqrt(N_i N_j)``.

    ``n_u`` is the number of different items of a user, ``N_i`` that of users of an item: item-CF with inverse user
    frequency, as in CoSeRec's released code. Equals are decided by the lowest item.

    Args:
        user: Who, for each event; any numbers.
        item: What, 1 to ``n_items``.
        n_items: Items of the catalogue.

    Returns:
        By item index, 0 where nothing was taken together with an item, and at index 0.
    """
    who = np.unique(user, return_inverse=True)[1] if len(user) else user
    n_users = int(who.max()) + 1 if len(user) else 0
    taken = sparse.csr_array((np.ones(len(user)), (who, item.astype(np.int64) - 1)), shape=(n_users, n_items))
    taken.sum_duplicates()
    taken.data[:] = 1.0
    counts = np.diff(taken.indptr)
    popularity = np.bincount(taken.indices, minlength=n_items)
    norm = sparse.diags_array(1 / np.sqrt(np.maximum(popularity, 1)))
    right = sparse.csr_array(taken @ norm)
    left = sparse.csr_array(norm @ taken.T @ sparse.diags_array(1 / np.log1p(counts)))
    found = np.zeros(n_items + 1, dtype=np.int64)
    work = np.cumsum(taken.T @ counts)
    start = 0
    while start < n_items:
        done = work[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(work, done + PAIRS, side="right")))
        found[1 + start : 1 + stop] = _best(sparse.csr_array(left[start:stop] @ right), start)
        start = stop
    return found


def _best(scores: sparse.csr_array, first: int) -> Int64[ndarray, " rows"]:
    """Number from 1 of the largest entry of each row but for that on the diagonal, which begins at column ``first``."""
    row = np.repeat(np.arange(scores.shape[0]), np.diff(scores.indptr))
    other = scores.indices != row + first
    row, column, value = row[other], scores.indices[other], scores.data[other]
    best = np.zeros(scores.shape[0], dtype=np.int64)
    if not len(row):
        return best
    begins = np.append(0, np.flatnonzero(np.diff(row)) + 1)
    largest = np.repeat(np.maximum.reduceat(value, begins), np.diff(np.append(begins, len(row))))
    # Sums of the same numbers in another order differ in their last bits.
    column = np.where(value >= largest * (1 - 1e-12), column, scores.shape[1])
    best[row[begins]] = np.minimum.reduceat(column, begins) + 1
    return best
