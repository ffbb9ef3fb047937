"""Finding and skipping the events of new items, against plain lists."""

import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usermodel.errors import IntegrityError
from usermodel.sampling.protocol import Examples
from usermodel.store import unknown
from usermodel.store.sequence_store import SequenceStore
from usermodel.store.unknown import UnknownEvents

ITEMS = st.lists(st.integers(1, 6), max_size=30)


@given(ITEMS, st.integers(1, 6), st.integers(1, 5), st.data())
def test_counts_and_windows_equal_those_of_a_filtered_list(items, n_items, most, data):
    bounds = st.integers(0, len(items))
    first, stop = sorted([data.draw(bounds), data.draw(bounds)])
    found = UnknownEvents.find(np.array(items, dtype=np.int32), n_items)
    assert found.rows.tolist() == [row for row, item in enumerate(items) if item > n_items]
    known = [row for row in range(first, stop) if items[row] <= n_items]
    one, end = np.array([first]), np.array([stop])
    assert found.within(one, end).tolist() == [stop - first - len(known)]
    assert found.latest(one, end, most).tolist() == ([known[-most:][0]] if known else [stop])


@given(ITEMS, st.integers(1, 6))
def test_a_column_is_read_in_pieces(items, n_items):
    column = np.array(items, dtype=np.int32)
    whole = UnknownEvents.find(column, n_items)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unknown, "_BLOCK", 4)
        assert UnknownEvents.find(column, n_items).rows.tolist() == whole.rows.tolist()


def test_a_store_looks_once_and_only_when_there_can_be_any(tiny_store, monkeypatch):
    store = SequenceStore.open(tiny_store.path)
    # ann: i1 i2 i4 i3 i1, bob: i3 i1 i2, cid: i1 i2, dee: i5.
    assert store.unknown(3).rows.tolist() == [2, 10]
    sizes = []
    find = UnknownEvents.find
    monkeypatch.setattr(
        UnknownEvents, "find", staticmethod(lambda items, n: sizes.append(len(items)) or find(items, n))
    )
    assert store.unknown(3) is store.unknown(3)
    assert not len(store.unknown(5).rows)
    assert not len(store.unknown(99).rows)
    assert not sum(sizes)


def test_histories_reach_back_over_unknown_events(tiny_store):
    users = np.arange(4)
    examples = Examples.histories(tiny_store, users, tiny_store.offsets[1:], 3, 3)
    # ann: i2 (i4) i3 i1; bob and cid as they are; dee's only item is unknown.
    assert examples.start.tolist() == [1, 5, 8, 11]
    assert examples.stop.tolist() == [5, 8, 10, 11]
    whole = Examples.histories(tiny_store, users, tiny_store.offsets[1:], 3)
    assert whole.start.tolist() == [2, 5, 8, 10]
    assert examples.prediction_time.tolist() == whole.prediction_time.tolist()


def test_an_index_beyond_the_vocabulary_is_damage_and_not_a_new_item(tiny_store, tmp_path):
    shutil.copytree(tiny_store.path, tmp_path / "store")
    items = np.load(tmp_path / "store/items.npy")
    items[3] = 77
    np.save(tmp_path / "store/items.npy", items)
    with pytest.raises(IntegrityError, match="expected item indices 1 to 5; found the index 77"):
        SequenceStore.open(tmp_path / "store").unknown(3)
