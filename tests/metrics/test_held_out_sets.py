"""Metrics of several held-out items against a plain loop over sorted lists, and over all orders of ties."""

import itertools
import math

import numpy as np
import polars as pl
import pytest
import torch

from usermodel.embedding_table import DotScorer
from usermodel.errors import MismatchError, NumericError
from usermodel.events.readers import read_events
from usermodel.events.splits import UserRatioConfig
from usermodel.metrics import held_out_sets
from usermodel.metrics.held_out_sets import held_out_items, rank_sets
from usermodel.store.build import build_store
from usermodel.tasks.held_out_items import HeldOutItems

SPLIT = UserRatioConfig(valid=0.2, test=0.3)


@pytest.fixture
def store(tmp_path):
    """Histories in which held-out items repeat, among themselves and from before."""
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "user_id": [f"u{u:02d}" for u in np.repeat(np.arange(20), 12)],
            "item_id": [f"i{i:02d}" for i in rng.integers(0, 30, 240)],
            "timestamp": range(240),
        }
    )
    return build_store(read_events(frame, time_unit="order"), tmp_path / "store")


class Given:
    def __init__(self, scores):
        self.table, self.n_items = scores, scores.shape[1]

    def scores(self, users):
        return self.table[torch.from_numpy(users)]


def held(store, user):
    """What a user took before the test part, and the new items in it, as columns."""
    split = store.split(SPLIT)
    before = set(store.items[store.offsets[user] : split.valid_stop[user]].tolist())
    after = set(store.items[split.valid_stop[user] : split.test_stop[user]].tolist())
    return {item - 1 for item in before}, {item - 1 for item in after - before}


def of_list(items, targets, k):
    hits = [rank for rank, item in enumerate(items[:k], 1) if item in targets]
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(len(targets), k) + 1))
    return len(hits) / len(targets), sum(1 / math.log2(rank + 1) for rank in hits) / ideal


@pytest.mark.parametrize("k", [1, 5, 20, 40])
@pytest.mark.parametrize("dot", [False, True])
def test_equals_a_plain_loop(monkeypatch, store, k, dot):
    monkeypatch.setattr(held_out_sets, "TILE", 3 * store.n_items)  # several tiles
    generator = torch.Generator().manual_seed(k)
    users, items = (torch.randn(n, 6, generator=generator) for n in (store.n_users, store.n_items))
    scores = users @ items.T
    scorer = DotScorer(users, items) if dot else Given(scores)
    labels = HeldOutItems(split=SPLIT).requests(store)
    ranks = rank_sets(scorer, store, labels, k)
    recall, ndcg = ranks.metric("recall", k), ranks.metric("ndcg", k)
    counted = 0
    for row, user in enumerate(labels.user):
        seen, targets = held(store, user)
        assert recall.weight[row] == ndcg.weight[row] == bool(targets)
        if targets:
            ordered = [i for i in torch.argsort(-scores[user]).tolist() if i not in seen]
            wanted = of_list(ordered, targets, k)
            assert (recall.total[row], ndcg.total[row]) == pytest.approx(wanted)
            counted += 1
    assert counted == recall.n > 15


def test_ties_are_the_mean_over_all_orders(tmp_path):
    """One user, six candidates with two levels of ties across the end of the list."""
    frame = pl.DataFrame({"user_id": ["u"] * 10, "item_id": list("abcdefghaj"), "timestamp": range(10)})
    store = build_store(read_events(frame, time_unit="order"), tmp_path / "store")
    split = UserRatioConfig(valid=0.0, test=0.7)
    labels = HeldOutItems(split=split).requests(store)
    level = dict(zip("abcdefghj", [9, 9, 9, 2, 1, 1, 1, 0, 1], strict=True))
    ids = list(store.vocabulary.decode(np.arange(1, store.n_items + 1)))
    scorer = Given(torch.tensor([[float(level[one]) for one in ids]]))
    # a, b, c were taken before, so the second a is no target: d to j but a. Other candidates: none.
    assert sorted(ids[column] for column in held_out_items(store, labels)[1]) == [
        "d",
        "e",
        "f",
        "g",
        "h",
        "j",
    ]
    for k in (1, 2, 3, 6):
        found = rank_sets(scorer, store, labels, k)
        orders = itertools.permutations("efgj")
        wanted = [of_list(["d", *order, "h"], set("defghj"), k) for order in orders]
        means = np.mean(wanted, axis=0)
        assert float(found.metric("recall", k).mean()) == pytest.approx(means[0])
        assert float(found.metric("ndcg", k).mean()) == pytest.approx(means[1])


def test_a_constant_scorer_scores_at_chance(store):
    labels = HeldOutItems(split=SPLIT).requests(store)
    ranks = rank_sets(Given(torch.zeros(store.n_users, store.n_items)), store, labels, 5)
    recall = ranks.metric("recall", 5)
    for row, user in enumerate(labels.user):
        seen, targets = held(store, user)
        if targets:
            assert recall.total[row] == pytest.approx(5 / (store.n_items - len(seen)))


def test_shorter_cuts_come_from_longer_ones(store):
    labels = HeldOutItems(split=SPLIT).requests(store)
    scores = torch.rand(store.n_users, store.n_items, generator=torch.Generator().manual_seed(0))
    long, short = (rank_sets(Given(scores), store, labels, k) for k in (20, 5))
    for kind in ("recall", "ndcg"):
        np.testing.assert_array_equal(long.metric(kind, 5).total, short.metric(kind, 5).total)


def test_scores_of_other_items_or_that_are_not_finite_are_refused(store):
    labels = HeldOutItems(split=SPLIT).requests(store)
    with pytest.raises(MismatchError):
        rank_sets(Given(torch.zeros(store.n_users, store.n_items - 1)), store, labels, 5)
    bad = torch.zeros(store.n_users, store.n_items)
    bad[3, 2] = torch.nan
    with pytest.raises(NumericError):
        rank_sets(Given(bad), store, labels, 5)
