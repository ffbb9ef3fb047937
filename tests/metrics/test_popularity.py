import numpy as np
import pytest

from usermodel.metrics import popularity as module
from usermodel.metrics.popularity import ItemPopularity, mean_over_history, repeats
from usermodel.sampling.protocol import Examples

HISTORIES = [[0, 1, 1, 2, 3], [1, 1, 4], [3, 0, 0, 0, 0, 0], [2, 2, 5]]


@pytest.fixture(params=[1, 3, 1 << 22])
def store(request, monkeypatch, make_store):
    monkeypatch.setattr(module, "_EVENTS", request.param)
    return make_store(HISTORIES)


def test_counts_are_those_of_the_training_part(store):
    # Training parts: 0 1 1, 1, 3 0 0 0, 2.
    found = ItemPopularity.fit(store, store.split())
    assert found.events.tolist() == [4, 3, 1, 1, 0, 0]
    assert found.users.tolist() == [2, 2, 1, 1, 0, 0]
    assert found.n_users == 4
    assert found.self_information().tolist() == [1, 1, 2, 2, 2, 2]


def test_without_the_first_event_of_each_user(store):
    found = ItemPopularity.fit(store, store.split(), without_first=True)
    assert found.events.tolist() == [3, 2, 0, 0, 0, 0]
    assert found.users.tolist() == [2, 2, 1, 1, 0, 0]


def test_held_out_users_train_on_nothing(make_store):
    from usermodel.events.splits import UserSplitConfig

    store = make_store([[n % 5, (n + 1) % 5, n % 3] for n in range(30)])
    split = store.split(UserSplitConfig(valid=0.3, test=0.3))
    found = ItemPopularity.fit(store, split)
    trains = split.train_stop > split.start
    assert 0 < found.n_users == trains.sum() < 30
    wanted = [
        len({u for u in np.flatnonzero(trains) if i + 1 in store.items[3 * u : 3 * u + 3]}) for i in range(5)
    ]
    assert found.users.tolist() == wanted
    assert ItemPopularity.fit(store, split, without_first=True).events.sum() == 2 * found.n_users


def test_mean_over_the_whole_history(store):
    labels = Examples.histories(store, *store.split().targets("test"), max_history=1)
    values = np.array([10.0, 20, 30, 40, 50, 60])
    found = mean_over_history(store, labels, values)
    assert found.tolist() == [(10 + 20 + 20 + 30) / 4, 20, (40 + 10 * 4) / 5, 30]


def test_repeats_are_targets_of_the_history(store):
    labels = Examples.histories(store, *store.split().targets("test"), max_history=1)
    assert repeats(store, labels).tolist() == [False, False, True, False]
    assert repeats(store, labels.take(np.array([2, 0]))).tolist() == [True, False]
    assert repeats(store, labels.take(np.zeros(0, dtype=np.int64))).tolist() == []
