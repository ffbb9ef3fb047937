"""Rank of each user's next item among the whole catalogue, by counting scores above the target's."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy import ndarray

from usermodel.cores import on_cores
from usermodel.embedding_table import Scorer, unknown_items
from usermodel.errors import DataError, MismatchError, NumericError
from usermodel.metrics.ranking import Ranks
from usermodel.metrics.score_tiles import ScoreTiles
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore

#: Scores held at once by a thread: 8 MB. With fewer users a product is slower than what a cache would save.
TILE: Final = 1 << 21
#: Tiles of a thread's piece of work: what is done once a piece, such as finding what its users have seen, costs little then.
STRIPE: Final = 2


def rank_targets(
    scorer: Scorer, store: SequenceStore, examples: Examples, *, exclude_seen: bool = True
) -> Ranks:
    """Count, for each example, the unseen items that score above and equal to the target.

    Seen is the user's whole history before the target, not only the slice that the encoder read. The target is never
    counted as seen, even when it repeats.

    Items that the scorer does not know (`Scorer`) rank below all others and level with each other. Such a target is a miss
    unless the scorer's own items run out within the cut-off.

    Args:
        scorer: Scores of all items for some users.
        store: Holds the histories and the targets.
        examples: One target per example, at row ``target_start``.
        exclude_seen: Leave seen items out; otherwise all items are candidates.

    Raises:
        DataError: An example has no target.
        MismatchError: The scorer's items, known and unknown, are not as many as the store's.
        NumericError: A score is not finite.
    """
    unknown = unknown_items(scorer)
    if scorer.n_items + unknown != store.n_items:
        more = f" and {unknown:,} unknown ones" if unknown else ""
        found, do = f"{scorer.n_items:,} items{more}", "Score the items of this store."
        raise MismatchError("scorer", expected=f"{store.n_items:,} items", found=found, do=do)
    lacking = np.flatnonzero(examples.target_stop <= examples.target_start)
    if len(lacking):
        found = f"none for user {_name(store, examples.user[lacking[0]])}"
        do = "Take the users and rows of Split.targets."
        raise DataError("examples", expected="a target for every user", found=found, do=do)
    counts, every = np.zeros((3, len(examples)), dtype=np.int64), np.arange(len(examples))
    size = max(1, TILE // store.n_items)
    tiles = ScoreTiles(scorer, min(size, len(examples)))
    pieces = np.split(every, range(size * STRIPE, len(every), size * STRIPE)) if len(every) else []

    def work(rows: Int64[ndarray, " piece"]) -> None:
        counts[:, rows] = _count(tiles, store, examples.take(rows), exclude_seen)

    if tiles.any_thread:
        on_cores(work, pieces)
    else:
        # Nobody promised that it may be asked from several threads.
        for rows in pieces:
            work(rows)
    counts[1] += unknown * (store.items[examples.target_start] > scorer.n_items)
    return Ranks(counts[0], counts[1], store.n_items - counts[2])


@torch.no_grad()
def _count(
    tiles: ScoreTiles, store: SequenceStore, examples: Examples, exclude_seen: bool
) -> Int64[ndarray, "3 n"]:
    """Known items above the target, others equal to it, and items left out because they were seen; tile by tile."""
    n, size = len(examples), tiles.rows
    target = store.items[examples.target_start].astype(np.int64) - 1
    row, column = seen_items(store, examples)
    keep = (column != target[row]) & exclude_seen
    row, column = row[keep], column[keep]
    # As wide as any scores are.
    own, seen = np.empty(n), np.empty(len(row))
    higher, equal = (np.empty(n, dtype=np.int64) for _ in range(2))
    starts = np.arange(0, n, size)
    borders = np.append(np.searchsorted(row, starts), len(row))
    for number, start in enumerate(starts):
        tile, pairs = slice(start, start + size), slice(borders[number], borders[number + 1])
        scores = _scores(tiles, store, examples.user[tile])
        own[tile] = _scores_of(scores, np.arange(len(scores)), target[tile])
        seen[pairs] = _scores_of(scores, row[pairs] - start, column[pairs])
        wanted = own[tile, None].astype(scores.dtype)
        higher[tile] = tiles.count(np.greater, scores, wanted)
        equal[tile] = tiles.count(np.equal, scores, wanted) - 1
    higher -= np.bincount(row[seen > own[row]], minlength=n)
    equal -= np.bincount(row[seen == own[row]], minlength=n)
    return np.stack([higher, equal, np.bincount(row, minlength=n)])


def _scores_of(
    scores: Float[ndarray, "batch items"], row: Int64[ndarray, " n"], column: Int64[ndarray, " n"]
) -> Float[ndarray, " n"]:
    """Scores of items one by one; those beyond the last column are unknown, and below every finite score."""
    known = column < scores.shape[1]
    out = np.full(len(row), -np.inf, dtype=scores.dtype)
    out[known] = scores[row[known], column[known]]
    return out


def _scores(
    tiles: ScoreTiles, store: SequenceStore, users: Int64[ndarray, " batch"]
) -> Float[ndarray, "batch items"]:
    scores = tiles.scores(users)
    wanted = (len(users), tiles.n_items)
    if tuple(scores.shape) != wanted:
        found, do = f"{tuple(scores.shape)}", "Mend the scorer: one row per user, one column per item."
        raise MismatchError("scores", expected=f"shape {wanted}", found=found, do=do)
    # One number tells that all are finite, unless the sum itself is too large; which one is not matters only then.
    if not (tiles.finite or math.isfinite(float(scores.sum()))):
        bad = torch.nonzero(~torch.isfinite(scores).all(1))
        if len(bad):
            found = f"a score that is not finite for user {_name(store, users[int(bad[0])])}"
            do = "Look at the training loss; lower the learning rate."
            raise NumericError("scores", expected="finite scores", found=found, do=do)
    # numpy has no bfloat16.
    return (scores.float() if scores.dtype == torch.bfloat16 else scores).numpy()


def _name(store: SequenceStore, user: int) -> str:
    return repr(store.users.decode(np.array([user + 1]))[0])


def seen_items(
    store: SequenceStore, examples: Examples
) -> tuple[Int64[ndarray, " seen"], Int64[ndarray, " seen"]]:
    """Distinct items of each user's whole history before row ``target_start``.

    Returns:
        Example number and score column (item index - 1) of each, sorted by example.
    """
    start = store.offsets[examples.user]
    lengths = examples.target_start - start
    row = np.repeat(np.arange(len(examples)), lengths)
    first = np.cumsum(lengths) - lengths
    rows = np.repeat(start - first, lengths) + np.arange(lengths.sum())
    pair = np.sort(row * np.int64(store.n_items) + store.items[rows] - 1)
    pair = pair[np.diff(pair, prepend=-1) > 0]
    owner = pair // store.n_items
    return owner, pair - owner * store.n_items
