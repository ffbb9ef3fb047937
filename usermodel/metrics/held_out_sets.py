"""Metrics of several held-out items a user: recall and NDCG as the papers on graphs of users and items define them.

Every held-out item has a rank among what the user has not taken, other held-out items included, and each metric is a sum over the
items. So ties are settled as for one target a user: an item is counted at the mean over all orders of those level with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor

from usermodel.cores import on_cores
from usermodel.embedding_table import Scorer
from usermodel.errors import MismatchError, NumericError
from usermodel.metrics.next_item_ranks import STRIPE, TILE, seen_items
from usermodel.metrics.per_user import PerUser
from usermodel.metrics.ranking import Ranks, discounts
from usermodel.metrics.score_tiles import ScoreTiles
from usermodel.metrics.top_lists import best_scores
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore

#: Kinds of metrics of sets, each with ``@k``.
SET_KINDS: Final = ("recall", "ndcg")
_BLOCK: Final = 64


@dataclass(frozen=True)
class SetRanks:
    """Where the held-out items of each user stand.

    Attributes:
        row: Example of each held-out item, in order.
        ranks: Rank of each, right up to ``k``; what lies behind stands at ``k + 1``.
        n: Examples.
        k: Longest list that can be asked for.
    """

    row: Int64[ndarray, " items"]
    ranks: Ranks
    n: int
    k: int

    def metric(self, kind: str, k: int) -> PerUser:
        """``recall`` or ``ndcg`` at ``k``, over users who have a held-out item.

        With T held-out items of a user, recall is hits / T, and ndcg the sum of ``1 / log2(rank + 1)`` over the hits by what hits
        at ranks 1 to min(T, k) would give.
        """
        assert kind in SET_KINDS
        assert k <= self.k
        sizes = np.bincount(self.row, minlength=self.n)
        some = np.maximum(sizes, 1)
        if kind == "ndcg":
            ideal = np.cumsum(discounts(k))[np.minimum(some, k) - 1]
            values = np.bincount(self.row, self.ranks.ndcg(k), minlength=self.n) / ideal
        else:
            values = np.bincount(self.row, self.ranks.hit(k), minlength=self.n) / some
        return PerUser.of(values, sizes > 0)


def held_out_items(
    store: SequenceStore, examples: Examples
) -> tuple[Int64[ndarray, " items"], Int64[ndarray, " items"]]:
    """Distinct items of each example's target range that its user had not taken before.

    Returns:
        Example number and score column (item index - 1) of each, sorted by both.
    """
    lengths = examples.target_stop - examples.target_start
    row = np.repeat(np.arange(len(examples)), lengths)
    rows = np.repeat(examples.target_start - (np.cumsum(lengths) - lengths), lengths) + np.arange(
        lengths.sum()
    )
    pairs = np.unique(row * np.int64(store.n_items) + store.items[rows] - 1)
    seen_row, seen_column = seen_items(store, examples)
    pairs = np.setdiff1d(pairs, seen_row * np.int64(store.n_items) + seen_column, assume_unique=True)
    return pairs // store.n_items, pairs % store.n_items


def rank_sets(scorer: Scorer, store: SequenceStore, examples: Examples, k: int) -> SetRanks:
    """Rank the held-out items of each example among all items that its user had not taken before the target range.

    Args:
        scorer: Scores of all items for some users.
        store: Holds the histories and what follows them.
        examples: Users, and the rows ``[target_start, target_stop)`` of what is held out.
        k: Ranks up to it are told apart.

    Raises:
        MismatchError: The scorer's items are not the store's.
        NumericError: A score is not finite.
    """
    if scorer.n_items != store.n_items:
        found, do = f"{scorer.n_items:,} items", "Score the items of this store."
        raise MismatchError("scorer", expected=f"{store.n_items:,} items", found=found, do=do)
    row, column = held_out_items(store, examples)
    counts = np.zeros((3, len(row)), dtype=np.int64)
    size = max(1, TILE // store.n_items)
    tiles = ScoreTiles(scorer, min(size, max(len(examples), 1)))
    every = np.arange(len(examples))
    pieces = np.split(every, range(size * STRIPE, len(every), size * STRIPE)) if len(every) else []

    def work(piece: Int64[ndarray, " piece"]) -> None:
        for tile in np.split(piece, range(size, len(piece), size)):
            mine = slice(*np.searchsorted(row, [tile[0], tile[-1] + 1]))
            counts[:, mine] = _count(tiles, store, examples.take(tile), row[mine] - tile[0], column[mine], k)

    if tiles.any_thread:
        on_cores(work, pieces)
    else:
        for piece in pieces:
            work(piece)
    return SetRanks(row, Ranks(*counts), len(examples), k)


@torch.no_grad()
def _count(
    tiles: ScoreTiles,
    store: SequenceStore,
    examples: Examples,
    row: Int64[ndarray, " items"],
    column: Int64[ndarray, " items"],
    k: int,
) -> Int64[ndarray, "3 items"]:
    """Items above each held-out one, others level with it, and candidates, in one tile."""
    scores, candidates = _candidates(tiles, store, examples, k)
    places = torch.from_numpy(row)
    own = scores[places, torch.from_numpy(column)][:, None]
    best = best_scores(scores, k)[0]
    last = best[:, -1:]
    mine = best[places]
    higher, equal = (mine > own).sum(1), (mine == own).sum(1) - 1
    # What is level with the last place may reach beyond it; what lies behind has no rank of its own.
    at_last, behind = (own == last[places])[:, 0], (own < last[places])[:, 0]
    users, which = torch.unique(places[at_last], return_inverse=True)
    equal[at_last] = ((scores[users] == last[users]).sum(1) - 1)[which]
    higher, equal = higher.masked_fill(behind, k), equal.masked_fill(behind, 0)
    return np.stack([higher.numpy(), equal.numpy(), candidates[row]])


def _candidates(
    tiles: ScoreTiles, store: SequenceStore, examples: Examples, k: int
) -> tuple[Float[Tensor, "batch padded"], Int64[ndarray, " batch"]]:
    """Scores with -inf for what was taken before and for padding, and how many are left for each user."""
    found = tiles.scores(examples.user)
    if not (tiles.finite or bool(torch.isfinite(found).all())):
        do = "Look at the training loss; lower the learning rate."
        raise NumericError("scores", expected="finite scores", found="one that is not", do=do)
    width = -(-max(tiles.n_items, k) // _BLOCK) * _BLOCK
    scores = found.new_full((len(examples), width), -torch.inf)
    scores[:, : tiles.n_items] = found
    row, column = seen_items(store, examples)
    scores[torch.from_numpy(row), torch.from_numpy(column)] = -torch.inf
    return scores, tiles.n_items - np.bincount(row, minlength=len(examples))
