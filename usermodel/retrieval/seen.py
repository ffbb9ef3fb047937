"""What each query must not get: a list that is given, or the history of a user, read block by block."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from usermodel.store.sequence_store import SequenceStore


class Seen(Protocol):
    """Rows that queries must not get."""

    @property
    def offsets(self) -> Int64[ndarray, " queries+1"]:
        """Query q has ``offsets[q + 1] - offsets[q]`` rows."""
        ...

    def rows(self, start: int, stop: int) -> Int64[ndarray, " seen"]:
        """Those of some queries, one after the other; a row may be repeated, or be none of the index."""
        ...


@dataclass(frozen=True)
class Listed:
    """Rows written down: ``listed[offsets[q]:offsets[q + 1]]``."""

    offsets: Int64[ndarray, " queries+1"]
    listed: Int64[ndarray, " seen"]

    @staticmethod
    def none(n: int) -> Listed:
        """Nothing seen by ``n`` queries."""
        return Listed(np.zeros(n + 1, dtype=np.int64), np.zeros(0, dtype=np.int64))

    def rows(self, start: int, stop: int) -> Int64[ndarray, " seen"]:
        """See `Seen.rows`."""
        return self.listed[self.offsets[start] : self.offsets[stop]]


@dataclass(frozen=True)
class Histories:
    """Items that users have taken. Item 1 of the store is row 0.

    Attributes:
        store: Where the events are.
        users: Position of each query's user in the store.
    """

    store: SequenceStore
    users: Int64[ndarray, " queries"]

    @cached_property
    def offsets(self) -> Int64[ndarray, " queries+1"]:
        """See `Seen.offsets`."""
        first, last = self.store.offsets[self.users], self.store.offsets[self.users + 1]
        return np.concatenate([[0], np.cumsum(last - first, dtype=np.int64)])

    def rows(self, start: int, stop: int) -> Int64[ndarray, " seen"]:
        """See `Seen.rows`; nothing but the events of these users is read."""
        offsets = self.offsets[start : stop + 1] - self.offsets[start]
        event = np.repeat(self.store.offsets[self.users[start:stop]] - offsets[:-1], np.diff(offsets))
        event += np.arange(offsets[-1])
        rows: ndarray = self.store.items[event].astype(np.int64) - 1
        return rows
