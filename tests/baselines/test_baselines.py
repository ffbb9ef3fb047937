"""Baselines by hand computation."""

import numpy as np
import polars as pl
import pytest

from usermodel.baselines.item_knn import ItemKnn
from usermodel.baselines.popularity import Popularity
from usermodel.events.readers import read_events
from usermodel.store.build import build_store
from usermodel.tasks.next_item import NextItem


@pytest.fixture
def store(tmp_path):
    # Train parts: u1: a b, u2: a b, u3: b c, u4: d. Validation and test events are two each at the end.
    histories = {"u1": "abcd", "u2": "abda", "u3": "bcad", "u4": "dab"}
    rows = [(user, item, step) for user, items in histories.items() for step, item in enumerate(items)]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    return build_store(read_events(frame, time_unit="order"), tmp_path / "store")


def test_popularity_counts_training_events_only(store):
    labels = NextItem().requests(store)
    scorer = Popularity.fit(store, store.split(), labels)
    assert scorer.scores(np.array([0, 3])).tolist() == [[2.0, 3.0, 1.0, 1.0]] * 2


def test_item_knn_is_the_sum_of_cosines_to_the_history(store):
    labels = NextItem().requests(store)
    scorer = ItemKnn.fit(store, store.split(), labels)
    # Users per item in training: a {1,2}, b {1,2,3}, c {3}, d {4}. cos(a,b) = 2/sqrt(6), cos(b,c) = 1/sqrt(3), others 0.
    ab, bc = 2 / np.sqrt(6), 1 / np.sqrt(3)
    # History of u1 before its test target: a b c.
    assert scorer.scores(np.array([0]))[0].numpy() == pytest.approx([ab, ab + bc, bc, 0.0])


def test_item_knn_keeps_only_the_nearest_neighbours(store):
    labels = NextItem().requests(store)
    scorer = ItemKnn.fit(store, store.split(), labels, neighbours=1)
    # b keeps a (0.816) and drops c (0.577); c keeps b. u3's history is b c a.
    ab, bc = 2 / np.sqrt(6), 1 / np.sqrt(3)
    assert scorer.scores(np.array([2]))[0].numpy() == pytest.approx([ab, ab + bc, 0.0, 0.0])
