"""Histories read block by block, against a loop over users."""

import numpy as np
import pytest
import tiny

from usermodel.embeddings.user_encoder import UserEncoder
from usermodel.retrieval import filtering
from usermodel.retrieval.item_index import ItemIndex
from usermodel.retrieval.seen import Histories, Listed


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seen")
    store = tiny.make_store(folder / "store")
    return store, tiny.make_run(store, folder / "run")


def test_histories_are_those_of_the_users_in_their_order(made):
    store, _ = made
    users = np.array([7, 0, 29, 7])
    seen = Histories(store, users)
    slow = [store.items[store.offsets[user] : store.offsets[user + 1]] - 1 for user in users]
    assert np.diff(seen.offsets).tolist() == [len(one) for one in slow]
    for start, stop in ((0, 4), (1, 3), (2, 2), (4, 4), (3, 4)):
        expected = np.concatenate([np.zeros(0, int), *slow[start:stop]])
        assert seen.rows(start, stop).tolist() == expected.tolist()
    assert Histories(store, users[:0]).rows(0, 0).tolist() == []


def test_listed_rows():
    seen = Listed(np.array([0, 2, 2, 3]), np.array([5, 6, 7]))
    assert [seen.rows(*one).tolist() for one in ((0, 1), (1, 2), (1, 3), (0, 3))] == [
        [5, 6],
        [],
        [7],
        [5, 6, 7],
    ]


@pytest.mark.parametrize("most", [1, 20, 57])
def test_no_block_reads_more_events_than_it_may(made, most, monkeypatch):
    """But for one user with more; and blocks change nothing."""
    store, run = made
    users = UserEncoder.load(run).encode(store)
    index = ItemIndex.build(run)
    whole = index.recommend(users, 4, exclude_seen=store)
    read = []
    rows = Histories.rows

    def watched(self, start, stop):
        found = rows(self, start, stop)
        read.append((start, stop, len(found)))
        return found

    monkeypatch.setattr(Histories, "rows", watched)
    monkeypatch.setattr(filtering, "_SEEN", most)
    again = index.recommend(users, 4, exclude_seen=store)
    assert again.drop("score").equals(whole.drop("score"))
    assert again["score"].to_numpy() == pytest.approx(whole["score"].to_numpy(), abs=1e-6)
    assert [one[0] for one in read] == [0, *(one[1] for one in read[:-1])]
    assert read[-1][1] == len(users)
    assert all(n <= most or stop == start + 1 for start, stop, n in read)
    assert sum(n for _, _, n in read) == store.n_events
    if most == 57:
        assert any(stop > start + 1 for start, stop, _ in read)
