"""The k-core is the one largest set of events in which everybody keeps enough, whatever the order of removal."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usermodel.events.filters import k_core

EVENTS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=40)
CORE = st.integers(0, 4)


def run(events, min_user, min_item):
    users, items = (np.array([event[side] for event in events], dtype=np.int64) for side in (0, 1))
    return k_core(users, items, min_user, min_item)


def reference(events, min_user, min_item, items_first):
    """One event at a time, until nothing is too weak."""
    kept = list(range(len(events)))
    while True:
        users, items = (Counter(events[row][side] for row in kept) for side in (0, 1))
        weak = [row for row in kept if users[events[row][0]] < min_user or items[events[row][1]] < min_item]
        if not weak:
            return kept
        kept.remove(weak[-1] if items_first else weak[0])


@given(EVENTS, CORE, CORE)
def test_it_equals_a_reference_that_removes_one_event_at_a_time(events, min_user, min_item):
    keep, rounds = run(events, min_user, min_item)
    kept = np.flatnonzero(keep).tolist()
    assert kept == reference(events, min_user, min_item, items_first=False)
    assert kept == reference(events, min_user, min_item, items_first=True)
    assert sum(removed for _, _, removed in rounds) == len(events) - len(kept)


@given(EVENTS, CORE, CORE)
def test_it_is_a_fixpoint_and_contains_every_other_one(events, min_user, min_item):
    keep, _ = run(events, min_user, min_item)
    core = [event for event, kept in zip(events, keep, strict=True) if kept]
    again, rounds = run(core, min_user, min_item)
    assert again.all()
    assert rounds == []
    # Any set of events that is enough for itself lies inside the core of the whole.
    bigger, _ = run(core + events, min_user, min_item)
    assert bigger[: len(core)].all()


@given(EVENTS, CORE, CORE, st.randoms(use_true_random=False))
def test_it_does_not_depend_on_row_order_or_names(events, min_user, min_item, random):
    keep, rounds = run(events, min_user, min_item)
    order = list(range(len(events)))
    random.shuffle(order)
    names = random.sample(range(20), 8)
    moved, moved_rounds = run(
        [(names[events[row][0]], names[events[row][1]]) for row in order], min_user, min_item
    )
    assert moved.tolist() == keep[order].tolist()
    assert moved_rounds == rounds


def test_one_pass_would_not_be_enough():
    # u2 leaves, so i1 is left with one event, so u1 is left with one event, ...
    events = [(0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (3, 3), (3, 3), (4, 3), (4, 3)]
    keep, rounds = run(events, 2, 2)
    assert keep.tolist() == [False] * 5 + [True] * 4
    assert rounds == [(1, 1, 2), (1, 1, 2), (1, 1, 1)]


@pytest.mark.parametrize("core", [(0, 0), (1, 1), (0, 1)])
def test_a_core_of_one_keeps_everything(core):
    keep, rounds = run([(0, 5), (3, 3)], *core)
    assert keep.all()
    assert rounds == []


def test_nothing_in_nothing_out():
    keep, rounds = run([], 5, 5)
    assert keep.tolist() == []
    assert rounds == []
