"""Interactions: who took what, as distinct pairs; neither order nor number of times."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int64
from numpy import ndarray
from scipy import sparse

from usermodel.errors import DataError
from usermodel.events.splits import Split
from usermodel.store.sequence_store import SequenceStore
from usermodel.store.training_events import training_events


@dataclass(frozen=True)
class Interactions:
    """Distinct pairs, sorted by user and then by item.

    Attributes:
        user: User of each pair, 0 to n_users - 1: the position in the store.
        item: Item index of each pair, 1 to n_items.
        n_users: Users, those without a pair included.
        n_items: Items of the catalogue.
        store: The store they were read from; None for pairs from elsewhere.
    """

    user: Int64[ndarray, " n"]
    item: Int64[ndarray, " n"]
    n_users: int
    n_items: int
    store: SequenceStore | None = None

    @staticmethod
    def from_arrays(
        user: Int64[ndarray, " events"], item: Int64[ndarray, " events"], *, n_users: int, n_items: int
    ) -> Interactions:
        """The distinct pairs of some events, in any order.

        Raises:
            DataError: Arrays of two lengths, or a number outside the users or items.
        """
        if len(user) != len(item):
            found, do = f"{len(user):,} users and {len(item):,} items", "Pass matching arrays."
            raise DataError("interactions", expected="one user and one item a pair", found=found, do=do)
        _require_within("user", user, 0, n_users - 1)
        _require_within("item", item, 1, n_items)
        keys = np.unique(user.astype(np.int64) * n_items + item.astype(np.int64) - 1)
        return Interactions(keys // n_items, keys % n_items + 1, n_users, n_items)

    @staticmethod
    def from_store(store: SequenceStore, split: Split) -> Interactions:
        """The pairs of the training part of a split."""
        users, items = training_events(store, split)
        pairs = Interactions.from_arrays(users, items, n_users=store.n_users, n_items=store.n_items)
        return Interactions(pairs.user, pairs.item, pairs.n_users, pairs.n_items, store)

    def __len__(self) -> int:
        return len(self.user)

    @cached_property
    def offsets(self) -> Int64[ndarray, " users+1"]:
        """First pair of each user, and the number of pairs at the end."""
        return np.searchsorted(self.user, np.arange(self.n_users + 1))

    @cached_property
    def item_counts(self) -> Int64[ndarray, " items"]:
        """Users of each item; entry 0 is item 1."""
        return np.bincount(self.item - 1, minlength=self.n_items)

    def matrix(self) -> sparse.csr_array:
        """``[n_users, n_items]`` of ones, column 0 being item 1."""
        ones = np.ones(len(self), dtype=np.float32)
        shape = (self.n_users, self.n_items)
        return sparse.csr_array((ones, self.item - 1, self.offsets), shape=shape)


def _require_within(what: str, values: ndarray, low: int, high: int) -> None:
    if len(values) and (values.min() < low or values.max() > high):
        found = f"{values.min()} to {values.max()}"
        raise DataError(what, expected=f"{low} to {high:,}", found=found, do="Number them anew.")
