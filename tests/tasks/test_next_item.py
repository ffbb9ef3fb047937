"""The next-item task on a store where every rank can be counted by hand."""

import numpy as np
import polars as pl
import pytest
import torch

from usermodel.errors import ConfigError, DataError, MismatchError, NumericError
from usermodel.events.readers import read_events
from usermodel.events.splits import GlobalTimeConfig
from usermodel.metrics.measure import measure_lists
from usermodel.metrics.names import parse
from usermodel.metrics.popularity import ItemPopularity
from usermodel.metrics.presets import OURS
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
    task = NextItem(metrics=("hit@1", "hit@2", "ndcg@2", "mrr"))
    results = task.score(Fixed(6.0, 5.0, 4.0, 3.0, 2.0, 1.0), store, task.requests(store))
    assert value(results, "hit@1") == pytest.approx(2 / 3)
    assert value(results, "hit@2") == 1.0
    assert value(results, "ndcg@2") == pytest.approx((1 / np.log2(3) + 1 + 1) / 3)
    assert value(results, "mrr") == pytest.approx((0.5 + 1 + 1) / 3)


def test_seen_is_the_whole_history_not_the_window(tmp_path):
    store = make(tmp_path / "s", {"u1": "abcd", "u2": "abcd"})
    task = NextItem(metrics=("hit@1", "mrr"), max_history=1)
    results = task.score(Fixed(4.0, 3.0, 2.0, 1.0), store, task.requests(store))
    assert (
        value(results, "hit@1") == 1.0
    )  # a and b lie outside the window of one, and are left out all the same


def test_validation_items_count_as_seen_for_the_test_target(tmp_path):
    store = make(tmp_path / "s", {"u1": "abc"})
    assert (
        value(
            NextItem(metrics=("hit@1", "mrr")).score(Fixed(1.0, 3.0, 2.0), store, NextItem().requests(store)),
            "hit@1",
        )
        == 1.0
    )
    valid = NextItem(part="valid", metrics=("hit@1", "mrr"))
    assert value(valid.score(Fixed(1.0, 2.0, 3.0), store, valid.requests(store)), "hit@1") == 0.0


def test_a_constant_scorer_scores_at_chance(tmp_path):
    store = make(tmp_path / "s", {f"u{n}": "abcdefghij" for n in range(4)} | {"v": "abk"})
    task = NextItem(metrics=("hit@1", "mrr"))
    results = task.score(Fixed(*[0.0] * 11), store, task.requests(store))
    # Candidates: 11 - 9 seen = 2 for four users, 11 - 2 = 9 for one.
    assert value(results, "hit@1") == pytest.approx((4 / 2 + 1 / 9) / 5)


def test_intervals_and_counts(tmp_path):
    store = make(tmp_path / "s", {"u1": "abd", "u2": "dba", "u3": "ca"})
    task = NextItem(metrics=("hit@1", "mrr"))
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


CONSTANT = {f"u{n}": "abcdefgh"[n:] + "kz" for n in range(5)} | {"v": "abkkk", "w": "zab"}
EVERY = ("hit@3", "recall@3", "ndcg@3", "map@3", "mrr@3", "mrr", "auc", "gauc")
EVERY += ("coverage@3", "novelty@3", "arp@3", "popularity_bias@3")


def test_a_constant_scorer_scores_at_chance_in_every_metric(tmp_path):
    store = make(tmp_path / "s", CONSTANT)
    task = NextItem(metrics=EVERY)
    labels = task.requests(store)
    found = {one.metric: one.value for one in task.score(Fixed(*[0.5] * store.n_items), store, labels)}
    items = "abcdefghkz"
    rest = [sorted(set(items) - (set(row[:-1]) - {row[-1]})) for row in CONSTANT.values()]
    n = np.array([len(row) for row in rest])
    train = [row[:-2] for row in CONSTANT.values()]
    counts = {item: sum(row.count(item) for row in train) for item in items}
    users = {item: max(sum(item in row for row in train), 1) for item in items}
    inside = np.minimum(3, n)
    chance = {"hit@3": inside / n, "recall@3": inside / n, "auc": [0.5], "gauc": [0.5]}
    chance["ndcg@3"] = [
        sum(1 / np.log2(np.arange(2, k + 2))) / all_ for k, all_ in zip(inside, n, strict=True)
    ]
    chance["map@3"] = chance["mrr@3"] = [
        sum(1 / np.arange(1, k + 1)) / all_ for k, all_ in zip(inside, n, strict=True)
    ]
    chance["mrr"] = [sum(1 / np.arange(1, all_ + 1)) / all_ for all_ in n]
    absent = [
        np.prod([1 - k / all_ for k, all_, row in zip(inside, n, rest, strict=True) if item in row])
        for item in items
    ]
    chance["coverage@3"] = 1 - np.array(absent)
    chance["novelty@3"] = [np.mean([-np.log2(users[item] / len(train)) for item in row]) for row in rest]
    arp = [np.mean([counts[item] for item in row]) for row in rest]
    taken = [np.mean([counts[item] for item in row[:-1]]) for row in CONSTANT.values()]
    chance |= {"arp@3": arp, "popularity_bias@3": [np.mean(arp) / np.mean(taken) - 1]}
    assert found == pytest.approx({name: float(np.mean(values)) for name, values in chance.items()}, abs=1e-9)


@pytest.mark.parametrize("name", EVERY)
def test_a_score_that_is_not_finite_is_an_error_in_every_metric(tmp_path, name):
    store = make(tmp_path / "s", {"u1": "abd", "u2": "dba"})
    task = NextItem(metrics=(name,))
    with pytest.raises(NumericError, match="finite scores"):
        task.score(Fixed(1.0, float("inf"), 1.0), store, task.requests(store))


def test_metrics_keep_their_order_and_come_once(tmp_path):
    store = make(tmp_path / "s", {"u1": "abd", "u2": "dba"})
    task = NextItem(metrics=("coverage@2", "mrr", "coverage@2", "hit@1"))
    results = task.score(Fixed(1.0, 2.0, 3.0), store, task.requests(store))
    assert [one.metric for one in results] == ["coverage@2", "mrr", "hit@1"]
    assert (results[0].low, results[0].high) == (None, None)
    assert results[1].low is not None


def test_groups_are_the_same_metrics_of_some_users(tmp_path):
    rng = np.random.default_rng(0)
    items = "abcdefghijklmnop"
    histories = {f"u{n:02d}": "".join(rng.choice(list(items), rng.integers(2, 20))) for n in range(60)}
    store = make(tmp_path / "s", histories | {"all": items})
    scorer = Fixed(*rng.random(16).tolist())
    names = ("ndcg@3", "novelty@3", "gauc", "coverage@3")
    task = NextItem(metrics=names, by=("history-length", "popularity"))
    labels = task.requests(store)
    results = task.score(scorer, store, labels)
    whole = {one.metric: one for one in results if not one.by}
    assert list(whole) == list(names)
    lengths = labels.target_start - store.offsets[labels.user]
    for one in results:
        if one.by != "history-length":
            continue
        low, _, high = one.group.partition("-")
        members = np.flatnonzero((lengths >= int(low)) & (lengths <= int(high or low)))
        alone = NextItem(metrics=(one.metric,)).score(scorer, store, labels.take(members))[0]
        assert (one.value, one.n) == (pytest.approx(alone.value, abs=1e-12), alone.n)
        assert (one.low, one.high) == pytest.approx((alone.low, alone.high), abs=1e-9)
    # One number for all users: a group of them covers less without saying anything about the group.
    assert not [one for one in results if one.by and one.metric == "coverage@3"]
    for by in task.by:
        rows = [one for one in results if one.by == by and one.metric == "ndcg@3"]
        assert sum(one.n for one in rows) == len(labels)
        assert sum(one.n * one.value for one in rows) / len(labels) == pytest.approx(
            whole["ndcg@3"].value, abs=1e-12
        )


def test_popularity_bias_by_hand(tmp_path):
    # Training parts: a a, a b, c. Scores prefer a, then b, c, d.
    store = make(tmp_path / "s", {"u": "aabc", "v": "abcd", "w": "cda"})
    task = NextItem(metrics=("arp@1", "popularity_bias@1"))
    results = task.score(Fixed(4.0, 3.0, 2.0, 1.0), store, task.requests(store))
    # Counts: a 3, b 1, c 1, d 0. Lists: c (a, b seen), d (a, b, c seen), a: mean 4 / 3.
    # Histories: a a b, a b c, c d: means 7/3, 5/3, 1/2.
    assert value(results, "arp@1") == pytest.approx(4 / 3)
    assert value(results, "popularity_bias@1") == pytest.approx((4 / 3) / ((7 / 3 + 5 / 3 + 1 / 2) / 3) - 1)


def test_popularity_bias_needs_a_history_that_was_trained_on(tmp_path):
    store = make(tmp_path / "s", {"u": "ab", "v": "cd"})
    untrained = ItemPopularity(np.zeros(4), np.zeros(4), 0)
    with pytest.raises(DataError, match="expected histories with items of the training part"):
        measure_lists(
            [parse("popularity_bias@1")],
            Fixed(4.0, 3.0, 2.0, 1.0),
            store,
            NextItem().requests(store),
            untrained,
            OURS,
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": ("ndgc@10",)}, "Did you mean 'ndcg@10'"),
        ({"metrics": ()}, "expected at least one"),
        ({"by": ("popularty",)}, "Did you mean 'popularity'"),
        ({"interval": "boot"}, "Did you mean 'bootstrap'"),
        ({"as_": "recbol"}, "Did you mean 'recbole'"),
    ],
)
def test_options_that_do_not_exist_are_refused_at_once(options, message):
    with pytest.raises(ConfigError, match=message):
        NextItem(**options)


def test_the_interval_can_be_normal(tmp_path):
    store = make(tmp_path / "s", {"u1": "abd", "u2": "dba", "u3": "ca"})
    task = NextItem(metrics=("mrr",), interval="normal")
    result = task.score(Fixed(4.0, 3.0, 2.0, 1.0), store, task.requests(store))[0]
    assert (result.low + result.high) / 2 == pytest.approx(result.value, abs=1e-12)
    assert "normal approximation" in result.definition
