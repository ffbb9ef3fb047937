"""Rank of each user's next item among the whole catalogue, by counting scores above the target's."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int64
from numpy import ndarray
from torch import Tensor

from usermodel.embedding_table import Scorer
from usermodel.errors import MismatchError, NumericError
from usermodel.metrics.ranking import Ranks
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore

#: Scores held at once: 4 M floats are 16 MB, near the last-level cache.
TILE = 1 << 22


def rank_targets(scorer: Scorer, store: SequenceStore, examples: Examples) -> Ranks:
    """Count, for each example, the unseen items that score above and equal to the target.

    Seen is the user's whole history before the target, not only the slice that the encoder read. The target is never
    counted as seen, even when it repeats.

    Args:
        scorer: Scores of all items for some users.
        store: Holds the histories and the targets.
        examples: One target per example, at row ``target_start``.

    Raises:
        NumericError: A score is not finite.
        MismatchError: The scorer knows another number of items.
    """
    if scorer.n_items != store.n_items:
        found = f"{scorer.n_items:,} items"
        raise MismatchError("scorer", expected=f"{store.n_items:,} items", found=found, do="Score the items of this store.")
    parts = []
    size = max(1, TILE // store.n_items)
    for start in range(0, len(examples), size):
        parts.append(_count(scorer, store, examples.take(np.arange(start, min(start + size, len(examples))))))
    higher, equal, seen = (np.concatenate(part) for part in zip(*parts, strict=True)) if parts else (np.zeros(0, np.int64),) * 3
    return Ranks(higher, equal, store.n_items - seen)


def _count(scorer: Scorer, store: SequenceStore, examples: Examples) -> tuple[ndarray, ndarray, ndarray]:
    scores = scorer.scores(examples.user)
    low, high = torch.aminmax(scores)
    if not (torch.isfinite(low) and torch.isfinite(high)):
        row = int(torch.nonzero(~torch.isfinite(scores).all(1))[0])
        found = f"a score that is not finite for user {store.users.decode(examples.user[row : row + 1] + 1)[0]!r}"
        raise NumericError("scores", expected="finite scores", found=found, do="Look at the training loss; lower the learning rate.")
    target = torch.from_numpy(store.items[examples.target_start].astype(np.int64) - 1)
    wanted = scores.gather(1, target[:, None])
    higher, equal = (scores > wanted).sum(1), (scores == wanted).sum(1) - 1
    row, column = seen_items(store, examples)
    keep = column != target.numpy()[row]
    row, column = row[keep], column[keep]
    values = scores[torch.from_numpy(row), torch.from_numpy(column)]
    own = wanted[torch.from_numpy(row), 0]
    higher -= _per_user(row, values > own, len(examples))
    equal -= _per_user(row, values == own, len(examples))
    return higher.numpy(), equal.numpy(), np.bincount(row, minlength=len(examples))


def _per_user(row: ndarray, flags: Tensor, n: int) -> Tensor:
    return torch.from_numpy(np.bincount(row[flags.numpy()], minlength=n))


def seen_items(store: SequenceStore, examples: Examples) -> tuple[Int64[ndarray, " seen"], Int64[ndarray, " seen"]]:
    """Distinct items of each user's whole history before row ``stop``.

    Returns:
        Example number and score column (item index - 1) of each, sorted by example.
    """
    start = store.offsets[examples.user]
    lengths = examples.stop - start
    row = np.repeat(np.arange(len(examples)), lengths)
    first = np.cumsum(lengths) - lengths
    rows = np.repeat(start - first, lengths) + np.arange(lengths.sum())
    pair = np.unique(row * np.int64(store.n_items) + store.items[rows] - 1)
    return pair // store.n_items, pair % store.n_items
