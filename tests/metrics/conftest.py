from dataclasses import dataclass

import polars as pl
import pytest
import torch

from usermodel.events.readers import read_events
from usermodel.store.build import build_store
from usermodel.store.sequence_store import SequenceStore


@dataclass
class Table:
    """A scorer that reads a matrix: row = user, column = item index - 1."""

    matrix: torch.Tensor
    n_unknown: int = 0

    @property
    def n_items(self) -> int:
        return self.matrix.shape[1]

    def scores(self, users):
        return self.matrix[torch.from_numpy(users)]


def store_of(path, histories: list[list[int]]) -> SequenceStore:
    """Item ids are two digits, so that the index of item ``i`` is its place in sorted order."""
    rows = [
        (f"u{u:03d}", f"i{item:02d}", t) for u, items in enumerate(histories) for t, item in enumerate(items)
    ]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    return build_store(read_events(frame, time_unit="order"), path)


@pytest.fixture
def make_store(tmp_path):
    return lambda histories, name="store": store_of(tmp_path / name, histories)


@pytest.fixture
def table():
    return lambda matrix, n_unknown=0: Table(torch.as_tensor(matrix, dtype=torch.float32), n_unknown)
