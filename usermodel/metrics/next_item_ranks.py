"""Rank of each user's next item among the whole catalogue, by counting scores above the target's."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from numpy import ndarray
from torch import Tensor

from usermodel.embedding_table import Scorer, unknown_items
from usermodel.errors import DataError, MismatchError, NumericError
from usermodel.metrics.ranking import Ranks
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore

#: Scores held at once: 1 M floats are 4 MB, which a cache holds and the allocator keeps.
TILE: Final = 1 << 20


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
        found = f"none for user {_name(store, examples, lacking[0])}"
        do = "Take the users and rows of Split.targets."
        raise DataError("examples", expected="a target for every user", found=found, do=do)
    size = max(1, TILE // store.n_items)
    rows = [np.arange(start, min(start + size, len(examples))) for start in range(0, len(examples), size)]
    parts = [_count(scorer, store, examples.take(part), exclude_seen) for part in rows]
    counts = np.concatenate(parts, axis=1) if parts else np.zeros((3, 0), dtype=np.int64)
    return Ranks(counts[0], counts[1], store.n_items - counts[2])


def _count(
    scorer: Scorer, store: SequenceStore, examples: Examples, exclude_seen: bool
) -> Int64[ndarray, "3 n"]:
    """Items above the target, others equal to it, and items seen."""
    scores = _scores(scorer, store, examples)
    target = store.items[examples.target_start].astype(np.int64) - 1
    wanted = _scores_of(scores, np.arange(len(examples)), target)[:, None]
    higher, equal = (scores > wanted).sum(1).numpy(), (scores == wanted).sum(1).numpy() - 1
    equal += unknown_items(scorer) * (target >= scorer.n_items)
    if not exclude_seen:
        return np.stack([higher, equal, np.zeros_like(higher)])
    row, column = seen_items(store, examples)
    keep = column != target[row]
    row, column = row[keep], column[keep]
    seen = _scores_of(scores, row, column)
    own = wanted[torch.from_numpy(row), 0]
    n = len(examples)
    return np.stack(
        [
            higher - _per_user(row, seen > own, n),
            equal - _per_user(row, seen == own, n),
            np.bincount(row, minlength=n),
        ]
    )


def _scores_of(
    scores: Float[Tensor, "batch items"], row: Int64[ndarray, " n"], column: Int64[ndarray, " n"]
) -> Float[Tensor, " n"]:
    """Scores of items one by one; those beyond the last column are unknown, and below every finite score."""
    known = column < scores.shape[1]
    out = scores.new_full((len(row),), -torch.inf)
    out[torch.from_numpy(known)] = scores[torch.from_numpy(row[known]), torch.from_numpy(column[known])]
    return out


def _scores(scorer: Scorer, store: SequenceStore, examples: Examples) -> Float[Tensor, "batch items"]:
    scores = scorer.scores(examples.user)
    wanted = (len(examples), scorer.n_items)
    if tuple(scores.shape) != wanted:
        found, do = f"{tuple(scores.shape)}", "Mend the scorer: one row per user, one column per item."
        raise MismatchError("scores", expected=f"shape {wanted}", found=found, do=do)
    # Two numbers tell whether all are finite; which one is not matters only then.
    low, high = torch.aminmax(scores)
    if not bool(torch.isfinite(low) & torch.isfinite(high)):
        bad = int(torch.nonzero(~torch.isfinite(scores).all(1))[0])
        found = f"a score that is not finite for user {_name(store, examples, bad)}"
        do = "Look at the training loss; lower the learning rate."
        raise NumericError("scores", expected="finite scores", found=found, do=do)
    return scores


def _name(store: SequenceStore, examples: Examples, row: int) -> str:
    return repr(store.users.decode(examples.user[row : row + 1] + 1)[0])


def _per_user(row: Int64[ndarray, " seen"], flags: Bool[Tensor, " seen"], n: int) -> Int64[ndarray, " n"]:
    return np.bincount(row[flags.numpy()], minlength=n)


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
    pair = np.unique(row * np.int64(store.n_items) + store.items[rows] - 1)
    return pair // store.n_items, pair % store.n_items
