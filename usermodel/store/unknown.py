"""Events of items that an older encoder does not know: new items stand at the end of the vocabulary, so a number tells."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from jaxtyping import Int32, Int64
from numpy import ndarray

#: Items looked at in one go, so that a column larger than memory is read in pieces.
_BLOCK: Final = 1 << 24


@dataclass(frozen=True)
class UnknownEvents:
    """The rows to skip; it holds nothing about all the others.

    Attributes:
        rows: Store rows of unknown items, increasing; none by default.
    """

    rows: Int64[ndarray, " unknown"] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    @staticmethod
    def find(items: Int32[ndarray, " events"], n_items: int) -> UnknownEvents:
        """Rows whose item index is above ``n_items``: one pass over the column."""
        parts = [
            start + np.flatnonzero(items[start : start + _BLOCK] > n_items)
            for start in range(0, len(items), _BLOCK)
        ]
        return UnknownEvents(np.concatenate(parts)) if parts else UnknownEvents()

    def within(self, start: Int64[ndarray, " n"], stop: Int64[ndarray, " n"]) -> Int64[ndarray, " n"]:
        """Unknown events in each range of rows, from ``start`` up to and without ``stop``."""
        return np.searchsorted(self.rows, stop) - np.searchsorted(self.rows, start)

    def latest(
        self, first: Int64[ndarray, " n"], stop: Int64[ndarray, " n"], most: int
    ) -> Int64[ndarray, " n"]:
        """Where the latest ``most`` known events of each range begin, fewer where there are fewer.

        Args:
            first: First row of each range.
            stop: Row after the last one.
            most: Known events wanted.

        Returns:
            The row of the earliest of them; ``stop`` where the range knows none.
        """
        # Numbers of known events counted from the start of the store, and back to rows.
        number = np.maximum(
            first - np.searchsorted(self.rows, first), stop - np.searchsorted(self.rows, stop) - most
        )
        known_before = self.rows - np.arange(len(self.rows))
        row: ndarray = np.minimum(number + np.searchsorted(known_before, number, side="right"), stop)
        return row
