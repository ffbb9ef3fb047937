"""Interactions: distinct pairs of the training part."""

import numpy as np
import polars as pl
import pytest

from usermodel.baselines.interactions import Interactions
from usermodel.errors import DataError
from usermodel.events.readers import read_events
from usermodel.events.splits import UserRatioConfig
from usermodel.store.build import build_store


def test_pairs_are_distinct_and_sorted():
    found = Interactions.from_arrays(
        np.array([2, 0, 2, 0, 2]), np.array([3, 1, 1, 1, 3]), n_users=4, n_items=3
    )
    assert list(zip(found.user.tolist(), found.item.tolist(), strict=True)) == [(0, 1), (2, 1), (2, 3)]
    assert found.offsets.tolist() == [0, 1, 1, 3, 3]
    assert found.item_counts.tolist() == [2, 0, 1]
    assert found.matrix().toarray().tolist() == [[1, 0, 0], [0, 0, 0], [1, 0, 1], [0, 0, 0]]
    assert len(found) == 3


def test_of_a_store_only_the_training_part_counts(tmp_path):
    histories = {"u1": "aabcd", "u2": "bcdea"}
    rows = [(user, item, step) for user, items in histories.items() for step, item in enumerate(items)]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    store = build_store(read_events(frame, time_unit="order"), tmp_path / "store")
    found = Interactions.from_store(store, store.split(UserRatioConfig(valid=0.2, test=0.2)))
    ids = store.vocabulary.decode(found.item)
    assert list(zip(found.user.tolist(), list(ids), strict=True)) == [
        (0, "a"),
        (0, "b"),
        (1, "b"),
        (1, "c"),
        (1, "d"),
    ]
    assert (found.n_users, found.n_items, found.store) == (2, 5, store)


@pytest.mark.parametrize(
    ("user", "item", "message"),
    [
        ([0], [0], "item: expected 1 to 3"),
        ([0], [4], "item: expected 1 to 3"),
        ([2], [1], "user: expected 0 to 1"),
        ([-1], [1], "user: expected 0 to 1"),
        ([0, 1], [1], "2 users and 1 items"),
    ],
)
def test_other_numbers_are_refused(user, item, message):
    with pytest.raises(DataError, match=message):
        Interactions.from_arrays(np.array(user), np.array(item), n_users=2, n_items=3)
