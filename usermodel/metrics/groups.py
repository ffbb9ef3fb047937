"""Groups of users that a metric is broken down by: how long their history is, how popular their target is."""

from __future__ import annotations

from typing import Final, Literal, get_args

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from usermodel.errors import ConfigError, nearest
from usermodel.metrics.popularity import ItemPopularity
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore

By = Literal["history-length", "popularity"]
#: What the numbers in the labels of the groups count.
COUNTED: Final[dict[By, str]] = {
    "history-length": "events before the target",
    "popularity": "training events of the target item",
}


def group_users(
    by: By, store: SequenceStore, examples: Examples, popularity: ItemPopularity | None
) -> dict[str, Int64[ndarray, " members"]]:
    """Positions of the examples in each group, lowest group first; a label is the range of what is counted.

    Args:
        by: ``history-length``: 1, 2-3, 4-7, 8-15, ... events before the target, whatever part of them the encoder reads.
            ``popularity``: tenths of the targets by the training events of their items, least popular first; targets with
            equal counts stay together, in the tenth in which the first of them falls.
        store: Holds the histories.
        examples: One target each.
        popularity: Of the items, on the training part; only ``popularity`` looks at it.

    Raises:
        ConfigError: No such breakdown.
    """
    if by == "history-length":
        counts = examples.target_start - store.offsets[examples.user]
        group = np.frexp(counts)[1]
    elif by == "popularity" and popularity is not None:
        counts = popularity.events[store.items[examples.target_start].astype(np.int64) - 1].astype(np.int64)
        smaller = np.searchsorted(np.sort(counts), counts)
        group = 10 * smaller // max(len(counts), 1)
    else:
        do = nearest(by, get_args(By))
        raise ConfigError("by", expected=" or ".join(get_args(By)), found=repr(by), do=do)
    found = {}
    for number in np.unique(group):
        members = np.flatnonzero(group == number)
        low, high = int(counts[members].min()), int(counts[members].max())
        if by == "history-length":
            low, high = (1 << int(number)) >> 1, (1 << int(number)) - 1
        found[f"{low}-{high}" if low < high else str(low)] = members
    return found
