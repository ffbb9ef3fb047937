"""Tiles of scores, some users by all items, in memory that each thread keeps: new memory for every tile costs as much again."""

from __future__ import annotations

import threading

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor

from usermodel.embedding_table import DotScorer, Scorer


class ScoreTiles(threading.local):
    """Scores a tile and counts in it. Each thread that touches it has memory of its own.

    Args:
        scorer: Anything that scores.
        rows: Users of a tile, at most.

    Attributes:
        rows: Users of a tile, at most.
        n_items: Columns of a tile.
        finite: Whether every score is known to be finite without looking.
    """

    def __init__(self, scorer: Scorer, rows: int) -> None:
        self._scorer, self.n_items, self.rows = scorer, scorer.n_items, rows
        self._dot = scorer if type(scorer) is DotScorer else None
        if self._dot is not None:
            # By column: a product with few users reads them faster that way.
            self._items = self._dot.items.detach().T.contiguous()
            self._memory = torch.empty(rows, self.n_items, dtype=self._items.dtype)
        self.finite = self._dot is not None and _bounded(self._dot)
        words = max(1, -(-self.n_items // 8))
        self._words = min(255, words)
        # What lies beyond the last column stays false.
        self._flags = np.zeros((rows, -(-words // self._words) * self._words * 8), dtype=np.bool_)

    @property
    def any_thread(self) -> bool:
        """Whether several threads may ask for scores at once; nobody promised that of a scorer in general."""
        return self._dot is not None

    def scores(self, users: Int64[ndarray, " batch"]) -> Float[Tensor, "batch items"]:
        """Of one tile; the next tile of the thread may overwrite them."""
        if self._dot is None:
            return self._scorer.scores(users)
        return torch.mm(self._dot.vectors(users).detach(), self._items, out=self._memory[: len(users)])

    def count(
        self, compare: np.ufunc, scores: Float[ndarray, "batch items"], wanted: Float[ndarray, "batch 1"]
    ) -> Int64[ndarray, " batch"]:
        """How often the comparison of a row with its wanted score holds.

        A sum of booleans would widen each of them first. Eight of them are added as one word, whose bytes hold their sums
        as long as no more than 255 words are added.
        """
        flags = self._flags[: len(scores)]
        compare(scores, wanted, out=flags[:, : self.n_items])
        sums = flags.view(np.uint64).reshape(len(flags), -1, self._words).sum(2)
        total: ndarray = sums.view(np.uint8).sum(1, dtype=np.int64)
        return total


def _bounded(scorer: DotScorer) -> bool:
    """Whether no score can overflow or be NaN, whatever the order of its sum; false when it may be."""
    if not (scorer.users.numel() and scorer.items.numel()):
        return True
    users, items = (float(vectors.detach().abs().max()) for vectors in (scorer.users, scorer.items))
    return users * items * scorer.items.shape[1] < torch.finfo(scorer.items.dtype).max / 2
