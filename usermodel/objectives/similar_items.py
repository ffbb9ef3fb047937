"""The most similar item of each item: by the users who took both, and later on by what the encoder has learned of them."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from jaxtyping import Float64, Int64, Integer
from numpy import ndarray
from scipy import sparse
from torch import Tensor, nn

from usermodel.encoders.protocol import EncoderModule
from usermodel.objectives.nearest_items import nearest_items
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore

#: Pairs of items that are counted at once, about: 16 bytes each.
PAIRS: Final = 1 << 22


class SimilarItems(nn.Module):
    """`most_similar` of the training histories, counted at the start of the first epoch and kept.

    With ``hybrid_after`` each later epoch begins with the larger of two similarities: that one, and the inner product of the
    vectors that items have then, see `nearest_items`. Each is first brought to 0 for the least of all pairs and 1 for the
    largest. Equals stay with the users who took both, and an item that nobody took with another one has the nearest.

    Source: CoSeRec (Liu et al. 2021, arXiv:2108.06479) and its released code. Deviations: there an item that nobody took with
    another one has a random item of similarity 0; padding and mask token count as items, there, for the nearest; the epoch
    after the ones asked for is still without (``epoch > 160`` where epochs count from 0).

    Args:
        n_items: Items of the catalogue.
        hybrid_after: Epochs that go by the users alone; None means all.
    """

    def __init__(self, n_items: int, hybrid_after: int | None = None) -> None:
        super().__init__()
        self.hybrid_after = hybrid_after
        self.register_buffer("most_similar", torch.zeros(n_items + 1, dtype=torch.int64))
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))
        self.most_similar: Tensor
        self.fitted: Tensor
        if hybrid_after is not None:
            self.register_buffer("epochs", torch.zeros((), dtype=torch.int64))
            self.register_buffer("counted", torch.zeros(n_items + 1, dtype=torch.int64))
            self.register_buffer("similarity", torch.zeros(n_items + 1, dtype=torch.float64))
            self.epochs: Tensor
            self.counted: Tensor
            self.similarity: Tensor

    def on_epoch_start(self, encoder: EncoderModule, store: SequenceStore, examples: Examples) -> None:
        """`fit_once`, and from the epoch on that was asked for the larger of both similarities."""
        self.fit_once(store, examples)
        if self.hybrid_after is None:
            return
        if int(self.epochs) >= self.hybrid_after:
            nearest, similarity = nearest_items(encoder.item_vectors())
            learned = (similarity > self.similarity) | (self.counted == 0)
            self.most_similar.copy_(torch.where(learned, nearest, self.counted))
        self.epochs += 1

    def fit_once(self, store: SequenceStore, examples: Examples) -> None:
        """Count in the slices of ``examples``, which are training data; nothing if that was done before.

        Windows of `AllPositionsConfig` hold every training event of users with two or more, wherever their borders are, so
        one epoch is as good as another. What a sampler leaves out is not counted.
        """
        if bool(self.fitted):
            return
        offsets = examples.offsets
        rows = np.repeat(examples.start - offsets[:-1], examples.lengths) + np.arange(offsets[-1])
        user = np.repeat(examples.user, examples.lengths)
        found, similarity = co_occurring(user, store.items[rows], len(self.most_similar) - 1)
        self.most_similar.copy_(torch.from_numpy(found))
        self.fitted.fill_(True)
        if self.hybrid_after is not None:
            self.counted.copy_(self.most_similar)
            self.similarity.copy_(torch.from_numpy(similarity))


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
    return co_occurring(user, item, n_items)[0]


def co_occurring(
    user: Integer[ndarray, " events"], item: Integer[ndarray, " events"], n_items: int
) -> tuple[Int64[ndarray, " table"], Float64[ndarray, " table"]]:
    """`most_similar`, and how similar: from 0 for the least of all pairs that somebody took to 1 for the largest.

    Where nothing was taken together it is 0, and where all pairs are alike 1.
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
    found, score, least = np.zeros(n_items + 1, dtype=np.int64), np.zeros(n_items + 1), np.inf
    work = np.cumsum(taken.T @ counts)
    start = 0
    while start < n_items:
        done = work[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(work, done + PAIRS, side="right")))
        rows = slice(1 + start, 1 + stop)
        found[rows], score[rows], low = _best(sparse.csr_array(left[start:stop] @ right), start)
        least, start = min(least, low), stop
    spread = score.max() - least
    return found, np.where(found > 0, (score - least) / spread if spread > 0 else 1.0, 0.0)


def _best(
    scores: sparse.csr_array, first: int
) -> tuple[Int64[ndarray, " rows"], Float64[ndarray, " rows"], float]:
    """Number from 1 of the largest entry of each row, that entry, and the least of all.

    Those on the diagonal, which begins at column ``first``, do not count.
    """
    row = np.repeat(np.arange(scores.shape[0]), np.diff(scores.indptr))
    other = scores.indices != row + first
    row, column, value = row[other], scores.indices[other], scores.data[other]
    best, score = np.zeros(scores.shape[0], dtype=np.int64), np.zeros(scores.shape[0])
    if not len(row):
        return best, score, np.inf
    begins = np.append(0, np.flatnonzero(np.diff(row)) + 1)
    largest = np.repeat(np.maximum.reduceat(value, begins), np.diff(np.append(begins, len(row))))
    # Sums of the same numbers in another order differ in their last bits.
    column = np.where(value >= largest * (1 - 1e-12), column, scores.shape[1])
    best[row[begins]] = np.minimum.reduceat(column, begins) + 1
    score[row] = largest
    return best, score, float(value.min())
