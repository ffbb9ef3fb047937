"""The next-item task on a store where every rank can be counted by hand."""

import numpy as np
import polars as pl
import pytest
import torch

from usermodel.errors import DataError, MismatchError, NumericError
from usermodel.events.readers import read_events
from usermodel.events.splits import GlobalTimeConfig
from usermodel.store.build import build_store
from usermodel.tasks.next_item import NextItem


class Fixed:
    """The same scores for every user."""

    def __init__(self, *scores):
        self.values = torch.tensor(scores)
        self.n_items = len(scores)

    def scores(self, users):
        return self.values.expand(len(users), -1).contiguous()


def make(folder, histories, **options):
    rows = [(user, item, step) for user, items in histories.items() for step, item in enumerate(items)]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    return build_store(read_events(frame, time_unit=options.get("unit", "order")), folder)


def value(results, metric):
    return next(one.value for one in results if one.metric == metric)


def test_ranks_by_hand(tmp_path):
    # Items a b c d e f; scores fall from a to f. u1: history a b, target d: unseen above d is c, rank 2.
    # u2: history f e, target a: rank 1. u3 (repeat): history c a, target a, which is never masked: rank 1, b is below.
    store = make(tmp_path / "s", {"u1": "abd", "u2": "fea", "u3": "caa"})
    task = NextItem(ks=(1, 2))
    results = task.score(Fixed(6.0, 5.0, 4.0, 3.0, 2.0, 1.0), store, task.requests(store))
    assert value(results, "hit@1") == pytest.approx(2 / 3)
    assert value(results, "hit@2") == 1.0
    assert value(results, "ndcg@2") == pytest.approx((1 / np.log2(3) + 1 + 1) / 3)
    assert value(results, "mrr") == pytest.approx((0.5 + 1 + 1) / 3)


def test_seen_is_the_whole_history_not_the_window(tmp_path):
    store = make(tmp_path / "s", {"u1": "abcd", "u2": "abcd"})
    task = NextItem(ks=(1,), max_history=1)
    results = task.score(Fixed(4.0, 3.0, 2.0, 1.0), store, task.requests(store))
    assert (
        value(results, "hit@1") == 1.0
    )  # a and b lie outside the window of one, and are left out all the same


def test_validation_items_count_as_seen_for_the_test_target(tmp_path):
    store = make(tmp_path / "s", {"u1": "abc"})
    assert (
        value(NextItem(ks=(1,)).score(Fixed(1.0, 3.0, 2.0), store, NextItem().requests(store)), "hit@1")
        == 1.0
    )
    valid = NextItem(part="valid", ks=(1,))
    assert value(valid.score(Fixed(1.0, 2.0, 3.0), store, valid.requests(store)), "hit@1") == 0.0


def test_a_constant_scorer_scores_at_chance(tmp_path):
    store = make(tmp_path / "s", {f"u{n}": "abcdefghij" for n in range(4)} | {"v": "abk"})
    task = NextItem(ks=(1,))
    results = task.score(Fixed(*[0.0] * 11), store, task.requests(store))
    # Candidates: 11 - 9 seen = 2 for four users, 11 - 2 = 9 for one.
    assert value(results, "hit@1") == pytest.approx((4 / 2 + 1 / 9) / 5)


def test_intervals_and_counts(tmp_path):
    store = make(tmp_path / "s", {"u1": "abd", "u2": "dba", "u3": "ca"})
    task = NextItem(ks=(1,))
    result = next(
        one
        for one in task.score(Fixed(4.0, 3.0, 2.0, 1.0), store, task.requests(store))
        if one.metric == "mrr"
    )
    assert result.n == 3
    assert result.low < result.value < result.high
    assert "seen = the whole history" in result.definition


def test_bad_scores_and_empty_parts(tmp_path):
    store = make(tmp_path / "s", {"u1": "abd", "u2": "dba"})
    task = NextItem()
    with pytest.raises(NumericError, match="finite scores"):
        task.score(Fixed(1.0, float("nan"), 1.0), store, task.requests(store))
    with pytest.raises(MismatchError, match="expected 3 items; found 2 items"):
        task.score(Fixed(1.0, 2.0), store, task.requests(store))
    with pytest.raises(DataError, match="a valid target"):
        NextItem(part="valid").requests(make(tmp_path / "short", {"u1": "ab", "u2": "ba"}))


def test_under_a_global_split_every_history_is_strictly_earlier_than_its_target(tmp_path):
    rng = np.random.default_rng(0)
    times = 1_700_000_000 + rng.integers(0, 40, 200)
    frame = pl.DataFrame(
        {
            "user_id": [f"u{n % 17}" for n in range(200)],
            "item_id": [f"i{n % 23}" for n in range(200)],
            "timestamp": times,
        }
    )
    store = build_store(read_events(frame), tmp_path / "s")
    for part in ("valid", "test"):
        labels = NextItem(part=part, split=GlobalTimeConfig()).requests(store)
        assert (store.times[labels.stop - 1] < store.times[labels.target_start]).all()
        assert len(labels) > 5
