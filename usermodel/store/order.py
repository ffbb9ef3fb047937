"""Rows in any order -> rows by user and time. Logs are mostly in time order already, so this is a count, not a sort."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int, Int32, Int64
from numpy import ndarray
from scipy import sparse

from usermodel.events.codes import BLOCK, blocks, count, take


def offsets_of(user: Int32[ndarray, " events"], n_users: int) -> Int64[ndarray, " users+1"]:
    """First row of each user once rows are grouped by user, and the number of rows at the end."""
    offsets = np.zeros(n_users + 1, dtype=np.int64)
    np.cumsum(count(user, n_users), out=offsets[1:])
    return offsets


def by_user(user: Int32[ndarray, " events"], n_users: int) -> Int[ndarray, " events"]:
    """Rows grouped by user, each group in input order: a counting sort, O(events + users)."""
    n = len(user)
    if bool((user[1:] >= user[:-1]).all()):
        return np.arange(n, dtype=_index_type(n))
    # Column e of this matrix holds one entry, in row user[e]; by rows it is the list of events of every user.
    columns = np.arange(n + 1, dtype=_index_type(n))
    matrix = sparse.csc_array((np.ones(n, dtype=np.int8), user, columns), shape=(n_users, n))
    order: ndarray = matrix.tocsr().indices
    return order


def by_user_and_time(
    user: Int32[ndarray, " events"], n_users: int, time: Int64[ndarray, " rows"], rows: ndarray | None = None
) -> tuple[Int[ndarray, " events"], Int64[ndarray, " events"], Int64[ndarray, " users+1"]]:
    """Order events by (user, time, input position).

    Only users whose events are not in time order already are sorted.

    Args:
        user: User of each event, 0 to n_users - 1.
        n_users: Number of users, also of those without events.
        time: A time for each row of the input.
        rows: Row of the input of each event, when not every row is an event.

    Returns:
        Positions of the events in their new order, their times in that order, and the first position of each user.
    """
    offsets = offsets_of(user, n_users)
    order = by_user(user, n_users)
    times = take(time, order if rows is None else take(rows, order))
    late = _users_out_of_order(times, offsets)
    # A few users at a time, so that a shuffled log needs little more memory than one in order.
    batch = np.cumsum(np.diff(offsets)[late]) // BLOCK
    for users in np.split(late, np.flatnonzero(np.diff(batch)) + 1) if len(late) else []:
        length = offsets[users + 1] - offsets[users]
        first = np.repeat(offsets[users] - np.cumsum(length) + length, length)
        places = first + np.arange(len(first))
        new = places[np.lexsort((times[places], np.repeat(users, length)))]
        order[places], times[places] = order[new], times[new]
    return order, times, offsets


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
