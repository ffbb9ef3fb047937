"""Every item equally likely a target, whatever its popularity."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from usermodel.events.splits import Split
from usermodel.sampling.pieces import PiecesConfig
from usermodel.sampling.protocol import Examples, SamplerConfig
from usermodel.store.sequence_store import SequenceStore


class ItemUniformConfig(SamplerConfig):
    """Slices that end with a target whose item is drawn with probability in proportion to ``count^power``.

    ``count`` is how often the item is a target of the training part: ``power`` 0 makes all such items as likely, 1 takes them as
    often as they come, and what lies between softens popularity (0.5 is the square root). Among the targets of an item each is as
    likely. Draws are independent. Items that are no training target are never drawn.

    For objectives with one target a slice, such as `LastItem`. `NextItem` takes every event of a slice but the first for a
    target, and the others are as popular as they come.

    Attributes:
        power: See above.
        n_examples: Slices an epoch; None means as many as there are training targets.
    """

    targets_as_counted: ClassVar[bool] = False

    power: float = Field(default=0.0, ge=0, le=1)
    n_examples: int | None = Field(default=None, ge=1)

    def sample(
        self, store: SequenceStore, split: Split, *, max_history: int, rng: np.random.Generator
    ) -> Examples:
        """``max_history`` inputs at most and the target after them; in the order of drawing."""
        pieces = PiecesConfig().sample(store, split, max_history=max_history, rng=rng)
        if not len(pieces):
            return pieces
        item = store.items[pieces.stop - 1]
        order = np.argsort(item, kind="stable")
        _, begin, count = np.unique(item[order], return_index=True, return_counts=True)
        sums = np.cumsum(count.astype(np.float64) ** self.power)
        n = self.n_examples or len(pieces)
        drawn = np.minimum(np.searchsorted(sums, rng.random(n) * sums[-1], side="right"), len(sums) - 1)
        return pieces.take(order[begin[drawn] + rng.integers(0, count[drawn])])
