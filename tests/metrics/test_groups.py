import numpy as np
import pytest

from usermodel.errors import ConfigError
from usermodel.metrics.groups import group_users
from usermodel.metrics.popularity import ItemPopularity
from usermodel.sampling.protocol import Examples


def labels_of(store, max_history=50):
    return Examples.histories(store, *store.split().targets("test"), max_history)


def test_lengths_double(make_store):
    lengths = [1, 2, 3, 4, 7, 8, 15, 16]
    store = make_store([[n % 9 for n in range(length + 1)] for length in [3, *lengths]])
    found = group_users("history-length", store, labels_of(store, max_history=2), None)
    by_length = {label: sorted(np.array([3, *lengths])[members].tolist()) for label, members in found.items()}
    assert by_length == {"2-3": [2, 3, 3], "4-7": [4, 7], "8-15": [8, 15], "16-31": [16]} | {
        label: kept for label, kept in by_length.items() if label == "1"
    }
    assert list(found) == [label for label in ("1", "2-3", "4-7", "8-15", "16-31") if label in found]


def test_deciles_of_targets_by_training_events(make_store):
    # Target n of user n is in the training parts n times.
    store = make_store([[*[n] * n, 40, n] for n in range(1, 31)])
    popularity = ItemPopularity.fit(store, store.split())
    found = group_users("popularity", store, labels_of(store), popularity)
    assert [len(members) for members in found.values()] == [3] * 10
    assert list(found)[:2] == ["1-3", "4-6"]
    assert sorted(np.concatenate(list(found.values())).tolist()) == list(range(30))


def test_equal_counts_stay_together(make_store):
    store = make_store([[0, 1, 2]] * 20 + [[3, 4, 0]] * 2)
    popularity = ItemPopularity.fit(store, store.split())
    found = group_users("popularity", store, labels_of(store), popularity)
    assert {label: len(members) for label, members in found.items()} == {"0": 20, "20": 2}


def test_every_user_is_in_one_group(make_store):
    rng = np.random.default_rng(0)
    store = make_store([rng.integers(0, 30, rng.integers(2, 60)).tolist() for _ in range(80)])
    popularity, labels = ItemPopularity.fit(store, store.split()), labels_of(store)
    for by in ("history-length", "popularity"):
        found = group_users(by, store, labels, popularity)
        assert sorted(np.concatenate(list(found.values())).tolist()) == list(range(len(labels)))
        lows = [int(label.partition("-")[0]) for label in found]
        assert lows == sorted(lows)
        assert all(members.size for members in found.values())


def test_an_unknown_breakdown(make_store):
    store = make_store([[0, 1, 2]])
    with pytest.raises(ConfigError, match="Did you mean 'history-length'"):
        group_users("history_length", store, labels_of(store), None)
