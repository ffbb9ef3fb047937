"""Markov chain of items: what others took right after what you took last (Rendle et al. 2010, section 4.1, without factors)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from scipy import sparse
from torch import Tensor

from usermodel.errors import ConfigError
from usermodel.events.splits import FittedOn, Split
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore
from usermodel.store.training_events import training_events


@dataclass(frozen=True)
class Markov:
    """Score of an item: the share of the transitions from the user's last item that lead to it, plus ``smoothing`` times its popularity.

    A pair of events of one user that are ``d`` apart is ``1 / d`` of a transition, up to ``reach``.

    Attributes:
        transitions: ``[items, items]``; each row adds up to 1, or to 0 where nothing ever followed.
        popularity: ``smoothing`` times the share of each item among training events.
        last: Last item before the target of each user of the store, 0 where there is none.
        fitted_on: The split whose training part was counted; a task refuses to score on another one.
    """

    transitions: sparse.csr_array
    popularity: Float[Tensor, " items"]
    last: Int64[ndarray, " users"]
    fitted_on: FittedOn | None = None

    @staticmethod
    def fit(
        store: SequenceStore, split: Split, labels: Examples, *, reach: int = 3, smoothing: float = 1e-3
    ) -> Markov:
        """Count transitions in the training part.

        Args:
            store: Holds the events.
            split: Its training part is what is counted.
            labels: Their histories say which item a user took last.
            reach: How far apart two events may be.
            smoothing: Weight of popularity, which orders what never followed.

        Raises:
            ConfigError: A reach below 1, or a negative smoothing.
        """
        if reach < 1 or not 0 <= smoothing < np.inf:
            found, do = f"{reach} and {smoothing}", "Choose 3 and 0.001."
            raise ConfigError("reach, smoothing", expected="1 or more, and 0 or more", found=found, do=do)
        n = store.n_items
        user, item = training_events(store, split)
        counts = sparse.csr_array((n, n))
        for apart in range(1, min(reach, max(len(item) - 1, 1)) + 1):
            pairs = np.flatnonzero(user[apart:] == user[:-apart])
            places = item[pairs] - 1, item[pairs + apart] - 1
            counts += sparse.csr_array((np.full(len(pairs), 1 / apart), places), shape=(n, n))
        total = np.asarray(counts.sum(axis=1)).ravel()
        rows = sparse.csr_array(sparse.diags_array(1 / np.where(total > 0, total, 1.0)) @ counts)
        taken = torch.from_numpy(np.bincount(item - 1, minlength=n)).float()
        last = np.zeros(store.n_users, dtype=np.int64)
        some = labels.stop > store.offsets[labels.user]
        last[labels.user[some]] = store.items[labels.stop[some] - 1]
        return Markov(rows, smoothing * taken / max(len(item), 1), last, split.fitted_on)

    @property
    def n_items(self) -> int:
        """Items that can be scored."""
        return len(self.popularity)

    def scores(self, users: Int64[ndarray, " batch"]) -> Float[Tensor, "batch items"]:
        """See `usermodel.embedding_table.Scorer`."""
        last = self.last[users]
        found = self.transitions[np.maximum(last - 1, 0)].toarray().astype(np.float32)
        found[last == 0] = 0.0
        return torch.from_numpy(found) + self.popularity
