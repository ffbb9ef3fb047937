"""Filters on coded events."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int
from numpy import ndarray


def k_core(
    users: Int[ndarray, " events"], items: Int[ndarray, " events"], min_user_events: int, min_item_events: int
) -> tuple[Bool[ndarray, " events"], list[tuple[int, int, int]]]:
    """The true k-core: repeat both filters until neither removes anything.

    The result does not depend on the order of removal. One pass over users and then items is not a k-core: removing
    items leaves users short again.

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
    while True:
        user_count = np.bincount(users[keep], minlength=int(users.max()) + 1)
        item_count = np.bincount(items[keep], minlength=int(items.max()) + 1)
        weak_user, weak_item = user_count < min_user_events, item_count < min_item_events
        weak = keep & (weak_user[users] | weak_item[items])
        if not weak.any():
            return keep, rounds
        gone_users = int((weak_user & (user_count > 0)).sum())
        gone_items = int((weak_item & (item_count > 0)).sum())
        rounds.append((gone_users, gone_items, int(weak.sum())))
        keep &= ~weak
