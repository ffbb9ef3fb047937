"""Batches made by hand."""

import pytest
import torch

from usermodel.batch import JaggedBatch


@pytest.fixture
def make_batch():
    """Lists of item indices -> a batch."""

    def make(*histories: list[int]) -> JaggedBatch:
        flat = [item for history in histories for item in history]
        times = [1_000 + place for history in histories for place in range(len(history))]
        offsets = torch.tensor([0, *(len(history) for history in histories)]).cumsum(0)
        return JaggedBatch(
            torch.tensor(flat, dtype=torch.int64), torch.tensor(times, dtype=torch.int64), offsets
        )

    return make
