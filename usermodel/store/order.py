"""Rows in any order -> rows by user and time. Logs are mostly in time order already, so this is a count, not a sort."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Int32, Int64
from numpy import ndarray
from scipy import sparse

from usermodel.events.codes import BLOCK, blocks, count, take


class Grouped(NamedTuple):
    """Events grouped by user.

    Attributes:
        order: Position in the input of each event.
        offsets: First place of each user in ``order``, and the number of events at the end.
    """

    order: Int[ndarray, " events"]
    offsets: Int64[ndarray, " users+1"]


def by_user(user: Int32[ndarray, " events"], n_users: int) -> Grouped:
    """Group events by user, each group in input order: a counting sort, O(events + users).

    Args:
        user: User of each event, 0 to n_users - 1.
        n_users: Number of users, also of those without events.
    """
    n = len(user)
    offsets = np.zeros(n_users + 1, dtype=np.int64)
    np.cumsum(count(user, n_users), out=offsets[1:])
    if bool((user[1:] >= user[:-1]).all()):
        return Grouped(np.arange(n, dtype=_index_type(n)), offsets)
    # Column e of this matrix holds one entry, in row user[e]; by rows it is the list of events of every user.
    columns = np.arange(n + 1, dtype=_index_type(n))
    matrix = sparse.csc_array((np.ones(n, dtype=np.int8), user, columns), shape=(n_users, n))
    return Grouped(matrix.tocsr().indices, offsets)


def by_time(grouped: Grouped, time: Int64[ndarray, " events"]) -> Int64[ndarray, " events"]:
    """Order the events of each user by (time, input position).

    Only users whose events are not in time order already are sorted.

    Args:
        grouped: Events by user; their order is changed in place.
        time: A time for each event of the input.

    Returns:
        The times in the new order.
    """
    order, offsets = grouped
    times = take(time, order)
    late = _users_out_of_order(times, offsets)
    # A few users at a time, so that a shuffled log needs little more memory than one in order.
    batch = np.cumsum(np.diff(offsets)[late]) // BLOCK
    for users in np.split(late, np.flatnonzero(np.diff(batch)) + 1) if len(late) else []:
        length = offsets[users + 1] - offsets[users]
        first = np.repeat(offsets[users] - np.cumsum(length) + length, length)
        places = first + np.arange(len(first))
        new = places[np.lexsort((times[places], np.repeat(users, length)))]
        order[places], times[places] = order[new], times[new]
    return times


def _users_out_of_order(times: Int64[ndarray, " events"], offsets: ndarray) -> Int64[ndarray, " n"]:
    """Users with an event that is earlier than the one before it."""
    late = np.zeros(len(offsets) - 1, dtype=bool)
    for part in blocks(len(times) - 1):
        fall = np.flatnonzero(times[part.start + 1 : part.stop + 1] < times[part]) + part.start
        user = np.searchsorted(offsets, fall, side="right") - 1
        # From one user to the next, times may fall.
        late[user[offsets[user + 1] > fall + 1]] = True
    return np.flatnonzero(late)


def _index_type(n: int) -> type[np.signedinteger]:
    return np.int32 if n < np.iinfo(np.int32).max else np.int64
