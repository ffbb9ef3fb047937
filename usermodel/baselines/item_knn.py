"""Item-kNN: items taken by the users who took yours (Sarwar et al. 2001; Deshpande & Karypis 2004, cosine)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from scipy import sparse
from torch import Tensor

from usermodel.baselines.history_matrix import before_targets, history_matrix
from usermodel.events.splits import FittedOn, Split
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore


@dataclass(frozen=True)
class ItemKnn:
    """Sum of cosine similarities to the items of a user's history; order plays no part.

    Attributes:
        similarity: ``[items, items]``, each row cut to its nearest neighbours; fitted on the training part.
        histories: ``[users, items]`` binary, everything before each user's target.
        fitted_on: The split whose training part was counted; a task refuses to score on another one.
    """

    similarity: sparse.csr_array
    histories: sparse.csr_array
    fitted_on: FittedOn | None = None

    @staticmethod
    def fit(store: SequenceStore, split: Split, labels: Examples, *, neighbours: int = 100) -> ItemKnn:
        """Count co-occurrence in the training part.

        Args:
            store: Holds the events.
            split: Its training part is what similarities may see.
            labels: Their histories are what users are scored from.
            neighbours: Similar items kept per item.
        """
        train = history_matrix(store, np.arange(store.n_users), split.start, split.train_stop)
        norm = np.sqrt(np.asarray(train.sum(axis=0)).ravel())
        scaled = train @ sparse.diags_array(1.0 / np.maximum(norm, 1e-12))
        similarity = sparse.csr_array(scaled.T @ scaled)
        similarity.setdiag(0)
        return ItemKnn(_top_rows(similarity, neighbours), before_targets(store, labels), split.fitted_on)

    @property
    def n_items(self) -> int:
        """Items that can be scored."""
        return int(self.similarity.shape[0])

    def scores(self, users: Int64[ndarray, " batch"]) -> Float[Tensor, "batch items"]:
        """See `usermodel.embedding_table.Scorer`."""
        return torch.from_numpy((self.histories[users] @ self.similarity).toarray().astype(np.float32))


def _top_rows(matrix: sparse.csr_array, k: int) -> sparse.csr_array:
    """Keep the ``k`` largest entries of each row, ties by column."""
    matrix = sparse.csr_array(matrix)
    matrix.eliminate_zeros()
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    order = np.lexsort((matrix.indices, -matrix.data, row))
    place = np.arange(len(order)) - matrix.indptr[:-1][row[order]]
    keep = order[place < k]
    return sparse.csr_array((matrix.data[keep], (row[keep], matrix.indices[keep])), shape=matrix.shape)
