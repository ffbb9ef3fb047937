"""What the top-k lists of many users hold: means of item values over a list, and the share of the catalogue in any list.

Items level with each other at the end of a list share its last places: every figure is the mean over all orders of the tied
items, as for metrics of ranks. A constant scorer therefore lists items at random.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from numpy import ndarray
from torch import Tensor

from usermodel.embedding_table import Scorer
from usermodel.errors import NumericError
from usermodel.metrics.next_item_ranks import TILE, seen_items
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore

#: What is left out of a list: the history but not the target, all of the history, or nothing.
Excluded = Literal["history", "history-and-repeats", "nothing"]
#: The best items are looked for in the blocks with the highest maxima.
_BLOCK: Final = 64


@dataclass(frozen=True)
class TopLists:
    """The lists of one length.

    Attributes:
        length: Items in each user's list: ``k``, or fewer where nothing else is left.
        means: Mean of each value over the list; 0 for an empty list.
        covered: Items in at least one list; with ties, the expected number.
    """

    length: Int64[ndarray, " n"]
    means: Float64[ndarray, "values n"]
    covered: float


def top_lists(
    scorer: Scorer,
    store: SequenceStore,
    examples: Examples,
    ks: Sequence[int],
    values: Float64[ndarray, "values items"],
    *,
    excluded: Excluded = "history",
) -> dict[int, TopLists]:
    """The lists of each length ``k`` that a scorer gives some users, summed up tile by tile.

    Items that the scorer does not know are in no list.

    Args:
        scorer: Scores of all items for some users.
        store: Holds the histories.
        examples: Users, and the row of the store at which each one's history ends.
        ks: Lengths.
        values: Values of the store's items; column 0 is item 1.
        excluded: ``history``: items of the whole history, except the target where it repeats.

    Raises:
        NumericError: A score is not finite.
    """
    sums = {k: _Sums(k, torch.from_numpy(values[:, : scorer.n_items]), len(examples)) for k in ks}
    size = max(1, TILE // store.n_items)
    for start in range(0, len(examples), size):
        part = np.arange(start, min(start + size, len(examples)))
        scores = _masked(scorer, store, examples.take(part), excluded, max(ks))
        best, places = best_scores(scores, max(ks) + 1)
        for one in sums.values():
            one.add(start, scores[:, : scorer.n_items], best, places)
    return {k: one.result() for k, one in sums.items()}


class _Sums:
    """Sums over tiles for one length."""

    def __init__(self, k: int, values: Float64[Tensor, "values items"], n: int) -> None:
        self.k, self.values = k, values
        self.length = np.zeros(n, dtype=np.int64)
        self.means = np.zeros((len(values), n))
        #: Log of the probability that an item is in no list.
        self.absent = torch.zeros(values.shape[1], dtype=torch.float64)

    def add(
        self,
        start: int,
        scores: Float[Tensor, "batch items"],
        best: Float[Tensor, "batch most"],
        places: Int64[Tensor, "batch most"],
    ) -> None:
        k, last = self.k, best[:, self.k - 1]
        tied = (last == best[:, k]) & torch.isfinite(last)
        known = torch.isfinite(best[:, :k]) & ~tied[:, None]
        length = known.sum(1) + k * tied
        # Places of what is excluded may lie beyond the last item, and count for nothing.
        inside = places[:, :k].clamp(max=self.values.shape[1] - 1)
        total = (self.values[:, inside] * known).sum(2)
        self.absent[inside[known]] = -torch.inf
        rows = torch.nonzero(tied)[:, 0]
        if len(rows):
            total[:, rows] = self._shared(scores[rows], last[rows, None])
        stop = start + len(best)
        self.length[start:stop] = length.numpy()
        self.means[:, start:stop] = (total / length.clamp(min=1)).numpy()

    def _shared(
        self, scores: Float[Tensor, "ties items"], last: Float[Tensor, "ties 1"]
    ) -> Float64[Tensor, "values ties"]:
        """Sums of values where the items at the end of a list share its last places."""
        above, level = scores > last, scores == last
        share = (self.k - above.sum(1, keepdim=True)).double() / level.sum(1, keepdim=True)
        chance = above + level * share
        self.absent += torch.log1p(-chance).sum(0)
        return self.values @ chance.T

    def result(self) -> TopLists:
        return TopLists(self.length, self.means, float(-torch.expm1(self.absent).sum()))


def _masked(
    scorer: Scorer, store: SequenceStore, examples: Examples, excluded: Excluded, most: int
) -> Float[Tensor, "batch padded"]:
    """Scores of a tile with -inf for what is excluded and for the padding, in memory of its own."""
    found = scorer.scores(examples.user)
    low, high = torch.aminmax(found)
    if not bool(torch.isfinite(low) & torch.isfinite(high)):
        do = "Look at the training loss; lower the learning rate."
        raise NumericError("scores", expected="finite scores", found="one that is not", do=do)
    width = -(-max(scorer.n_items, most + 1) // _BLOCK) * _BLOCK
    scores = found.new_full((len(examples), width), -torch.inf)
    scores[:, : scorer.n_items] = found
    if excluded == "nothing":
        return scores
    row, column = seen_items(store, examples)
    keep = column < scorer.n_items
    if excluded == "history":
        keep &= column != store.items[examples.target_start].astype(np.int64)[row] - 1
    scores[torch.from_numpy(row[keep]), torch.from_numpy(column[keep])] = -torch.inf
    return scores


def best_scores(
    scores: Float[Tensor, "batch padded"], most: int
) -> tuple[Float[Tensor, "batch most"], Int64[Tensor, "batch most"]]:
    """The highest scores and their columns: all of the ``most`` best lie in as many blocks, those of the highest maxima."""
    users, blocks = len(scores), scores.shape[1] // _BLOCK
    if blocks <= 2 * most:
        found = scores.topk(most)
        return found.values, found.indices
    view = scores.view(users, blocks, _BLOCK)
    block = view.amax(2).topk(most).indices
    inside = view.gather(1, block[:, :, None].expand(-1, -1, _BLOCK)).flatten(1).topk(most)
    columns = block.gather(1, inside.indices // _BLOCK) * _BLOCK + inside.indices % _BLOCK
    return inside.values, columns
