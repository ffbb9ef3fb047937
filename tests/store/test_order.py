"""Counting instead of sorting: the order is the one of a plain stable sort, whatever comes in."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usermodel.events import codes
from usermodel.store import order as module
from usermodel.store.order import by_time, by_user


def sort(user, n_users, time):
    grouped = by_user(user, n_users)
    return grouped.order, by_time(grouped, time), grouped.offsets


EVENTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4)), max_size=60)


@given(EVENTS, st.integers(1, 7), st.sampled_from(["as it comes", "by time", "by user"]))
def test_it_equals_a_plain_stable_sort(events, block, how):
    key = {"as it comes": lambda e: 0, "by time": lambda e: e[1], "by user": lambda e: e[0]}[how]
    events = sorted(events, key=key)
    user, time = (np.array([event[side] for event in events], dtype=np.int64) for side in (0, 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codes, "BLOCK", block)
        patch.setattr(module, "BLOCK", block)
        order, times, offsets = sort(user.astype(np.int32), 7, time)
    assert order.tolist() == sorted(range(len(user)), key=lambda row: (user[row], time[row]))
    assert times.tolist() == time[order].tolist()
    assert np.diff(offsets).tolist() == [int((user == one).sum()) for one in range(7)]


@pytest.mark.parametrize("shuffled", [0.0, 0.001, 1.0], ids=["in order", "a few late", "shuffled"])
def test_long_logs_with_many_ties(shuffled):
    rng = np.random.default_rng(0)
    n = 600_000  # more than two blocks
    user, time = rng.integers(0, 900, n).astype(np.int32), np.sort(rng.integers(0, 50_000, n))
    late = np.flatnonzero(rng.random(n) < shuffled)
    time[late] = time[rng.permutation(late)]
    order, times, offsets = sort(user, 900, time)
    assert (order == np.lexsort((time, user))).all()
    assert (times == time[order]).all()
    assert offsets[-1] == n


def test_one_user_may_own_the_log():
    time = np.arange(700_000)[::-1].copy()
    order, times, offsets = sort(np.zeros(700_000, dtype=np.int32), 1, time)
    assert (order == time).all()
    assert (np.diff(times) == 1).all()
    assert offsets.tolist() == [0, 700_000]


def test_users_without_events_have_empty_ranges():
    user = np.array([3, 1, 3], dtype=np.int32)
    assert by_user(user, 5).offsets.tolist() == [0, 0, 1, 1, 3, 3]
    assert by_user(user, 5).order.tolist() == [1, 0, 2]
    assert by_user(np.zeros(0, dtype=np.int32), 2).order.tolist() == []


def test_small_positions_take_four_bytes():
    assert by_user(np.array([1, 0], dtype=np.int32), 2).order.dtype == np.int32
    assert by_user(np.array([0, 1], dtype=np.int32), 2).order.dtype == np.int32
