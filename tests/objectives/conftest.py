"""Batches made by hand."""

import polars as pl
import pytest
import torch

from usermodel.batch import JaggedBatch
from usermodel.events.readers import read_events
from usermodel.store.build import build_store
from usermodel.store.sequence_store import SequenceStore


@pytest.fixture
def make_batch():
    """Lists of item indices -> a batch."""

    def make(*histories: list[int]) -> JaggedBatch:
        flat = [item for history in histories for item in history]
        times = [1_000 + place for history in histories for place in range(len(history))]
        offsets = torch.tensor([0, *(len(history) for history in histories)]).cumsum(0)
        return JaggedBatch(
            torch.tensor(flat, dtype=torch.int64),
            torch.tensor(times, dtype=torch.int64),
            offsets,
            user=torch.arange(len(histories)) + 100,
        )

    return make


@pytest.fixture
def make_store(tmp_path):
    """Lists of item indices -> a store; every index up to the largest must occur. Tables are handed to `build_store`."""

    def make(*histories: list[int], **tables: pl.DataFrame) -> SequenceStore:
        rows = [(f"u{u}", f"i{i}", t) for u, history in enumerate(histories) for t, i in enumerate(history)]
        frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
        return build_store(read_events(frame, time_unit="order"), tmp_path / "store", **tables)

    return make
