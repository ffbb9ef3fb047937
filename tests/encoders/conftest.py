"""A store of a few dozen histories, and batches made by hand."""

import numpy as np
import polars as pl
import pytest
import torch

from usermodel.batch import JaggedBatch
from usermodel.events.readers import read_events
from usermodel.store.build import build_store
from usermodel.store.sequence_store import SequenceStore


@pytest.fixture
def store(tmp_path) -> SequenceStore:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 30, 40)
    rows = [(f"u{u:02d}", f"i{rng.integers(50):02d}", t) for u, n in enumerate(lengths) for t in range(n)]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    return build_store(read_events(frame, time_unit="order"), tmp_path / "store")


@pytest.fixture
def make_batch():
    """Lists of item indices -> a batch. Times and features follow from the items, and so from earlier events only."""

    def make(*histories: list[int]) -> JaggedBatch:
        flat = [item for history in histories for item in history]
        times = [
            1_000 + sum(5 ** (item % 9) for item in history[:place])
            for history in histories
            for place in range(len(history))
        ]
        item = torch.tensor(flat, dtype=torch.int64)
        offsets = torch.tensor([0, *(len(history) for history in histories)]).cumsum(0)
        features = {
            "event_type": (item % 4).int(),
            "watch_time_ms": torch.where(item % 7 == 0, -1, item**3),
        }
        return JaggedBatch(item, torch.tensor(times, dtype=torch.int64), offsets, features)

    return make
