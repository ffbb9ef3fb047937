"""Baselines by hand computation."""

import numpy as np
import polars as pl
import pytest

from usermodel.baselines import ease
from usermodel.baselines.ease import Ease
from usermodel.baselines.item_knn import ItemKnn
from usermodel.baselines.markov import Markov
from usermodel.baselines.popularity import Popularity
from usermodel.baselines.random_items import RandomItems
from usermodel.baselines.recent_popularity import RecentPopularity
from usermodel.errors import ConfigError, DataError
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


def test_recent_popularity_halves_with_age(tmp_path):
    # Days before the last training event: a 30 and 0, b 60 and 15; the two events behind test and validate.
    days = {"a": [70, 100], "b": [40, 85], "c": [110, 120]}
    rows = [("u", item, 1_700_000_000 + 86_400 * day) for item, found in days.items() for day in found]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    store = build_store(read_events(frame), tmp_path / "store")
    labels = NextItem().requests(store)
    scorer = RecentPopularity.fit(store, store.split(), labels)
    assert scorer.scores(np.array([0]))[0].tolist() == pytest.approx([1 + 0.5, 0.25 + 0.5**0.5, 0])
    scorer = RecentPopularity.fit(store, store.split(), labels, half_life=1e9)
    assert scorer.counts.tolist() == pytest.approx([2, 2, 0])


def test_recent_popularity_of_an_order_counts_from_each_users_end(store):
    scorer = RecentPopularity.fit(store, store.split(), NextItem().requests(store), half_life=1.0)
    # Training parts: a b, a b, b c, d.
    assert scorer.counts.tolist() == pytest.approx([0.5 + 0.5, 1 + 1 + 0.5, 1, 1])
    for half_life in (0.0, float("nan")):
        with pytest.raises(ConfigError, match="half_life"):
            RecentPopularity.fit(store, store.split(), NextItem().requests(store), half_life=half_life)


def test_markov_follows_the_last_item(store):
    labels = NextItem().requests(store)
    scorer = Markov.fit(store, store.split(), labels, reach=1, smoothing=0.0)
    # Training transitions: a -> b twice, b -> c once. Last items before the test target: c, d, a, a.
    scores = scorer.scores(np.arange(4))
    assert scores.tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0]]
    smooth = Markov.fit(store, store.split(), labels, reach=1, smoothing=0.7).scores(np.arange(1))
    assert smooth[0].tolist() == pytest.approx([0.2, 0.3, 0.1, 0.1])


def test_markov_counts_farther_pairs_less(tmp_path):
    rows = [("u1", item, step) for step, item in enumerate("abcxy")] + [("u2", "a", 0)]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    store = build_store(read_events(frame, time_unit="order"), tmp_path / "store")
    labels = NextItem().requests(store)
    scorer = Markov.fit(store, store.split(), labels, reach=2, smoothing=0.0)
    # a is followed by b at once and by c after it: 1 and 1/2 of 3/2.
    assert scorer.transitions.toarray()[0].tolist() == pytest.approx([0, 2 / 3, 1 / 3, 0, 0])
    assert scorer.transitions.toarray()[1].tolist() == [0, 0, 1, 0, 0]
    for reach, smoothing in ((0, 0.0), (1, -1.0), (1, float("nan"))):
        with pytest.raises(ConfigError, match="reach"):
            Markov.fit(store, store.split(), labels, reach=reach, smoothing=smoothing)


def test_ease_is_the_ridge_regression_of_each_item_on_all_others(store):
    """Eq. 2 of the paper, solved one column at a time: B_j = argmin |X_j - X B_j|^2 + l |B_j|^2 with B_jj = 0."""
    labels = NextItem().requests(store)
    scorer = Ease.fit(store, store.split(), labels, penalty=0.7)
    x = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1.0]])
    for item in range(4):
        others = [one for one in range(4) if one != item]
        gram = x[:, others].T @ x[:, others] + 0.7 * np.eye(3)
        column = np.linalg.solve(gram, x[:, others].T @ x[:, item])
        assert scorer.weights[others, item] == pytest.approx(column, abs=1e-6)
        assert scorer.weights[item, item] == 0
    # History of u1 before its test target: a b c.
    assert scorer.scores(np.array([0]))[0].numpy() == pytest.approx(scorer.weights[:3].sum(0), abs=1e-6)


def test_ease_refuses_what_it_cannot_do(store, monkeypatch):
    labels = NextItem().requests(store)
    for penalty in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ConfigError, match="penalty"):
            Ease.fit(store, store.split(), labels, penalty=penalty)
    monkeypatch.setattr(ease, "MOST", 3)
    with pytest.raises(DataError, match="ItemKnn"):
        Ease.fit(store, store.split(), labels)


def test_random_items_are_uniform_and_the_users_own(store):
    labels = NextItem().requests(store)
    scorer = RandomItems.fit(store, store.split(), labels)
    many = RandomItems(5).scores(np.arange(4000))
    ranks = many.argsort(1).argsort(1).double().mean(0)
    # A mean of 4,000 ranks of 0 to 4 has standard error 0.022.
    assert ranks.tolist() == pytest.approx([2.0] * 5, abs=0.1)
    assert len(many.unique(dim=0)) == 4000
    other = RandomItems.fit(store, store.split(), labels, seed=1)
    assert not (scorer.scores(labels.user) == other.scores(labels.user)).any()
