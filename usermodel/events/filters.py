"""Filters on coded events."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int
from numpy import ndarray

from usermodel.events.codes import blocks, count


def k_core(
    users: Int[ndarray, " events"], items: Int[ndarray, " events"], min_user_events: int, min_item_events: int
) -> tuple[Bool[ndarray, " events"], list[tuple[int, int, int]]]:
    """The true k-core: repeat both filters until neither removes anything.

    The result does not depend on the order of removal. One pass over users and then items is not a k-core: removing
    items leaves users short again. Needs one byte per event beside its input.

    Args:
        users: User code of each event, 0 to n-1.
        items: Item code of each event.
        min_user_events: Events a user must keep.
        min_item_events: Events an item must keep.

    Returns:
        The mask of events to keep, and one row (users, items, events removed) per round.
    """
    keep = np.ones(len(users), dtype=bool)
    rounds: list[tuple[int, int, int]] = []
    if len(users) == 0 or max(min_user_events, min_item_events) <= 1:
        return keep, rounds
    user_count, item_count = count(users, int(users.max()) + 1), count(items, int(items.max()) + 1)
    while True:
        weak_user = (user_count < min_user_events) & (user_count > 0)
        weak_item = (item_count < min_item_events) & (item_count > 0)
        removed = 0
        if weak_user.any() or weak_item.any():
            for part in blocks(len(keep)):
                gone = np.flatnonzero(keep[part] & (weak_user[users[part]] | weak_item[items[part]]))
                gone += part.start
                keep[gone] = False
                np.subtract.at(user_count, users[gone], 1)
                np.subtract.at(item_count, items[gone], 1)
                removed += len(gone)
        if not removed:
            return keep, rounds
        rounds.append((int(weak_user.sum()), int(weak_item.sum()), removed))
