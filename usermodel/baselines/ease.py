"""EASE: a linear map from a history to all items, in closed form (Steck 2019, arXiv 1905.03375)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from numpy import ndarray
from scipy import sparse
from scipy.linalg import lapack
from torch import Tensor

from usermodel.baselines.history_matrix import before_targets, history_matrix
from usermodel.errors import ConfigError, DataError, NumericError
from usermodel.events.splits import FittedOn, Split
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore

#: Items whose matrix is still made: 8 GB of float64 and half as much for the weights. Time grows with the third power.
MOST: Final = 32_000
#: Columns that are handled at once.
_BLOCK: Final = 1024


@dataclass(frozen=True)
class Ease:
    """``s_u = x_u B`` with ``B = I - P diag(P)^-1``, ``P = (X'X + l I)^-1``, and a diagonal of 0 (eq. 8).

    ``X`` is binary, users by items, of the training part; ``x_u`` is everything before the target of a user.

    Attributes:
        weights: ``B``, in float32.
        histories: ``[users, items]`` binary.
        fitted_on: The split whose training part was counted; a task refuses to score on another one.
    """

    weights: Float[ndarray, "items items"]
    histories: sparse.csr_array
    fitted_on: FittedOn | None = None

    @staticmethod
    def fit(store: SequenceStore, split: Split, labels: Examples, *, penalty: float = 250.0) -> Ease:
        """Invert one matrix.

        Args:
            store: Holds the events.
            split: Its training part is what weights may see.
            labels: Their histories are what users are scored from.
            penalty: ``l``; the paper finds 200 to 1,000 for its sets, and smaller sets want less.

        Raises:
            ConfigError: A penalty that is not positive.
            DataError: More than `MOST` items.
            NumericError: The matrix cannot be inverted.
        """
        if not 0 < penalty < np.inf:
            do = "Choose some hundreds."
            raise ConfigError("penalty", expected="a positive number", found=f"{penalty}", do=do)
        if store.n_items > MOST:
            found = f"{store.n_items:,}, whose matrix takes {12 * store.n_items**2 / 1e9:,.0f} GB"
            do = "Use ItemKnn, whose matrix is sparse, or leave out rare items."
            raise DataError(str(store.path), expected=f"at most {MOST:,} items", found=found, do=do)
        train = history_matrix(store, np.arange(store.n_users), split.start, split.train_stop)
        weights = _weights(_inverse(_gram(train, penalty)))
        return Ease(weights, before_targets(store, labels), split.fitted_on)

    @property
    def n_items(self) -> int:
        """Items that can be scored."""
        return len(self.weights)

    def scores(self, users: Int64[ndarray, " batch"]) -> Float[Tensor, "batch items"]:
        """See `usermodel.embedding_table.Scorer`."""
        return torch.from_numpy(self.histories[users].astype(np.float32) @ self.weights)


def _gram(train: sparse.csr_array, penalty: float) -> Float64[ndarray, "items items"]:
    """``X'X + l I``; in blocks, because the sparse product of all would be as large again."""
    n, columns, turned = train.shape[1], train.tocsc(), sparse.csr_array(train.T)
    gram = np.empty((n, n), order="F")
    for start in range(0, n, _BLOCK):
        gram[:, start : start + _BLOCK] = (turned @ columns[:, start : start + _BLOCK]).toarray()
    gram[np.diag_indices(n)] += penalty
    return gram


def _inverse(gram: Float64[ndarray, "items items"]) -> Float64[ndarray, "items items"]:
    """Of a positive definite matrix, whose memory it takes."""
    factor, bad = lapack.dpotrf(gram, lower=True, overwrite_a=True)
    inverse, worse = lapack.dpotri(factor, lower=True, overwrite_c=True)
    if bad or worse:
        do = "Raise the penalty."
        raise NumericError("EASE", expected="a matrix that can be inverted", found="a singular one", do=do)
    # The upper triangle still holds what was there before.
    for start in range(0, len(inverse), _BLOCK):
        stop = start + _BLOCK
        inverse[start:stop, stop:] = inverse[stop:, start:stop].T
        square = np.tril(inverse[start:stop, start:stop])
        inverse[start:stop, start:stop] = square + np.tril(square, -1).T
    found: ndarray = inverse
    return found


def _weights(inverse: Float64[ndarray, "items items"]) -> Float[ndarray, "items items"]:
    weights = np.empty(inverse.shape, dtype=np.float32)
    np.divide(inverse, -np.diag(inverse)[None], out=weights, casting="same_kind")
    np.fill_diagonal(weights, 0.0)
    return weights
