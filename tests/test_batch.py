"""JaggedBatch against plain Python lists."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from usermodel.batch import JaggedBatch, collate
from usermodel.events.readers import read_events
from usermodel.sampling.protocol import Examples
from usermodel.store.build import build_store

HISTORIES = st.lists(st.lists(st.integers(1, 9), max_size=6), max_size=6)


def make(histories):
    """Times count up; one feature repeats the item."""
    items = [item for history in histories for item in history]
    offsets = np.cumsum([0] + [len(history) for history in histories])
    return JaggedBatch(
        torch.tensor(items, dtype=torch.int64),
        torch.arange(len(items)),
        torch.from_numpy(offsets),
        {"rating": torch.tensor(items, dtype=torch.float32) / 2},
        user=torch.arange(len(histories)) + 100,
    )


def lists(batch, column=None):
    """Back to one list per user."""
    values = (batch.item_index if column is None else column).tolist()
    borders = batch.offsets.tolist()
    return [values[start:stop] for start, stop in itertools.pairwise(borders)]


@given(HISTORIES)
def test_users_and_positions(histories):
    batch = make(histories)
    assert (batch.n_users, batch.n_events) == (len(histories), sum(map(len, histories)))
    assert lists(batch) == histories
    assert batch.lengths.tolist() == [len(history) for history in histories]
    assert lists(batch, batch.user_of_event) == [
        [user] * len(history) for user, history in enumerate(histories)
    ]
    assert lists(batch, batch.position) == [list(range(len(history))) for history in histories]


@given(HISTORIES, st.data())
def test_users_are_taken_with_all_their_columns(histories, data):
    batch = make(histories)
    users = data.draw(st.lists(st.sampled_from(range(len(histories))), max_size=8)) if histories else []
    taken = batch.take(torch.tensor(users, dtype=torch.int64))
    assert lists(taken) == [histories[user] for user in users]
    for column in (lambda one: one.timestamps_s, lambda one: one.features["rating"]):
        mine = lists(batch, column(batch))
        assert lists(taken, column(taken)) == [mine[user] for user in users]
    assert batch.take(torch.arange(batch.n_users)) is batch


@given(HISTORIES, st.booleans())
def test_padding(histories, left):
    batch = make(histories)
    items, mask = batch.padded(left=left)
    width = max(map(len, histories), default=0)
    gaps = [[0] * (width - len(history)) for history in histories]
    rows = zip(histories, gaps, strict=True)
    assert items.shape == mask.shape == (len(histories), width)
    assert items.tolist() == [gap + history if left else history + gap for history, gap in rows]
    assert mask.dtype == torch.bool
    assert mask.tolist() == (items > 0).tolist()


@given(HISTORIES, st.data())
def test_events_know_whose_they_are_whatever_is_done_to_a_batch(histories, data):
    batch = make(histories)
    keep = torch.tensor(data.draw(st.lists(st.booleans(), min_size=batch.n_events, max_size=batch.n_events)))
    taken = torch.tensor(data.draw(st.permutations(range(len(histories)))), dtype=torch.int64)
    for other in (batch.select(keep.bool()), batch.take(taken), batch.latest(2), batch.shifted()[0]):
        # Times are unique and tell the events of `batch` apart.
        assert torch.equal(other.owner, batch.owner[other.timestamps_s])
    twice = JaggedBatch.join([batch, batch.without_last()[0]])
    assert torch.equal(twice.owner, batch.owner[twice.timestamps_s])
    nobody = dataclasses.replace(batch, user=None)
    assert nobody.owner is None
    assert JaggedBatch.join([batch, nobody]).user is None


@given(HISTORIES)
def test_shifting_pairs_every_event_with_the_next_of_its_user(histories):
    batch = make(histories)
    inputs, targets = batch.shifted()
    assert lists(inputs) == [history[:-1] for history in histories]
    assert lists(inputs, targets) == [history[1:] for history in histories]
    assert lists(inputs, inputs.timestamps_s) == [times[:-1] for times in lists(batch, batch.timestamps_s)]
    assert lists(inputs, inputs.features["rating"]) == [
        [item / 2 for item in history[:-1]] for history in histories
    ]


@given(HISTORIES, st.data())
def test_selecting_keeps_users_even_when_nothing_is_left(histories, data):
    batch = make(histories)
    keep = data.draw(st.lists(st.booleans(), min_size=batch.n_events, max_size=batch.n_events))
    some = batch.select(torch.tensor(keep, dtype=torch.bool))
    flags = lists(batch, torch.tensor(keep, dtype=torch.bool))
    expected = [
        [item for item, kept in zip(*pair, strict=True) if kept]
        for pair in zip(histories, flags, strict=True)
    ]
    assert lists(some) == expected
    assert lists(some, some.features["rating"]) == [[item / 2 for item in history] for history in expected]
    assert some.offsets.dtype == torch.int64


def test_moving_takes_every_column_along():
    batch = make([[1, 2], [3]]).to("meta")
    columns = [batch.item_index, batch.timestamps_s, batch.offsets, batch.features["rating"]]
    assert {column.device.type for column in columns} == {"meta"}


def test_collating_reads_the_slices_in_the_order_of_the_examples(tiny_store):
    examples = Examples.histories(tiny_store, np.array([2, 0, 1]), np.array([9, 5, 5]), 3)
    batch = collate(tiny_store, examples)
    assert lists(batch) == [[1], [4, 3, 1], []]
    t0 = 1_700_000_000
    assert lists(batch, batch.timestamps_s) == [[t0 + 50], [t0 + 300, t0 + 300, t0 + 600], []]
    assert lists(batch, batch.features["event_type"]) == [[1], [1, 1, 1], []]
    assert lists(batch, batch.features["watch_time_ms"]) == [[300], [2000, 2500, 1200], []]
    assert batch.user.tolist() == [2, 0, 1]
    assert (batch.item_index.dtype, batch.timestamps_s.dtype, batch.offsets.dtype) == (torch.int64,) * 3


def test_collating_nothing(tiny_store):
    none = np.array([], dtype=np.int64)
    batch = collate(tiny_store, Examples.histories(tiny_store, none, none, 3))
    assert (batch.n_users, batch.n_events) == (0, 0)


def test_an_order_is_not_divided_into_seconds(tmp_path):
    (tmp_path / "s.txt").write_text("u a b c\n")
    store = build_store(read_events(tmp_path / "s.txt", format="sequences"), tmp_path / "store")
    batch = collate(store, Examples.histories(store, np.array([0]), np.array([3]), 5))
    assert batch.timestamps_s.tolist() == [0, 1, 2]
    assert batch.features == {}


def test_a_batch_is_a_copy_and_not_the_file(tiny_store):
    before = tiny_store.items.tolist()
    batch = collate(tiny_store, Examples.histories(tiny_store, np.array([0]), np.array([5]), 5))
    batch.item_index.fill_(7)
    batch.features["watch_time_ms"].fill_(7)
    assert tiny_store.items.tolist() == before
    assert tiny_store.feature("watch_time_ms")[0] == 1500


@pytest.mark.parametrize("left", [False, True])
def test_padding_by_hand(left):
    items, mask = make([[5], [], [1, 2, 3]]).padded(left=left)
    assert items.tolist() == [[0, 0, 5] if left else [5, 0, 0], [0, 0, 0], [1, 2, 3]]
    assert mask.tolist() == [[False, False, True] if left else [True, False, False], [False] * 3, [True] * 3]
