"""Columns on the device give the batches that reading the store gives."""

import shutil

import numpy as np
import pytest
import torch

from usermodel.batch import collate
from usermodel.errors import IntegrityError
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore
from usermodel.training import resident
from usermodel.training.resident import Resident, column_bytes, reader

CPU = torch.device("cpu")


def same(found, wanted):
    columns = {"items": "item_index", "times": "timestamps_s", "borders": "offsets", "users": "user"}
    for name in columns.values():
        assert torch.equal(getattr(found, name), getattr(wanted, name))
        assert getattr(found, name).dtype == getattr(wanted, name).dtype
    assert found.features.keys() == wanted.features.keys()
    for name, column in wanted.features.items():
        assert torch.equal(found.features[name], column)
        assert found.features[name].dtype == column.dtype


@pytest.mark.parametrize("seed", range(5))
def test_any_slices_in_any_order(store, seed):
    rng = np.random.default_rng(seed)
    users = rng.integers(0, store.n_users, 30)
    stop = rng.integers(store.offsets[users], store.offsets[users + 1] + 1)
    examples = Examples.histories(store, users, stop, int(rng.integers(1, 9)))
    same(Resident(store, CPU).collate(examples), collate(store, examples))


def test_features_come_along(tiny_store):
    examples = Examples.histories(tiny_store, np.array([2, 0, 1]), np.array([9, 5, 5]), 3)
    assert tiny_store.features
    same(Resident(tiny_store, CPU).collate(examples), collate(tiny_store, examples))


def test_nobody(store):
    none = np.zeros(0, dtype=np.int64)
    examples = Examples.histories(store, none, none, 3)
    same(Resident(store, CPU).collate(examples), collate(store, examples))


def test_a_damaged_column_is_found_once_and_for_all(damaged_store):
    with pytest.raises(IntegrityError, match="expected item indices 1 to"):
        Resident(damaged_store, CPU)
    everything = np.arange(damaged_store.n_users)
    examples = Examples.histories(damaged_store, everything, damaged_store.offsets[1:], 50)
    with pytest.raises(IntegrityError, match="expected item indices 1 to"):
        reader(damaged_store, CPU)(examples)


@pytest.fixture
def damaged_store(store, tmp_path):
    shutil.copytree(store.path, tmp_path / "damaged")
    items = np.load(tmp_path / "damaged" / "items.npy")
    items[3] = store.n_items + 1
    np.save(tmp_path / "damaged" / "items.npy", items)
    return SequenceStore.open(tmp_path / "damaged")


@pytest.mark.parametrize("room", ["enough", "too little"])
def test_a_gpu_keeps_the_columns_only_where_they_fit(store, monkeypatch, room):
    """Without a GPU: what it would be asked, and what would be made of the answer."""
    free = column_bytes(store) / resident.SHARE + (1 if room == "enough" else -1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10 * free))
    made = []
    monkeypatch.setattr(
        resident, "Resident", lambda *arguments: made.append(arguments) or Resident(store, CPU)
    )
    reader(store, torch.device("cuda"))
    assert bool(made) == (room == "enough")


def test_bytes_are_those_of_the_columns(tiny_store):
    per_event = 4 + 8 + sum(tiny_store.feature(name).itemsize for name in tiny_store.features)
    assert column_bytes(tiny_store) == tiny_store.n_events * per_event
