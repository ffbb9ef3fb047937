"""Rectangles give what the same histories give without padding."""

import pytest
import torch

from usermodel.batch import JaggedBatch
from usermodel.nn import padded_gru
from usermodel.nn.padded import PaddedBatch, pool
from usermodel.nn.pooling import Pooling
from usermodel.nn.recurrent import GruLayer, Packing

ITEMS = torch.tensor([[4, 7, 2, 0], [0, 0, 0, 0], [9, 0, 0, 0], [1, 2, 3, 4]])
OFFSETS = torch.tensor([0, 3, 3, 4, 8])


@pytest.fixture
def batch() -> PaddedBatch:
    return PaddedBatch.of(ITEMS, ITEMS * 10, {"event_type": ITEMS % 3})


def test_what_the_padding_counts_as(batch):
    assert (batch.n_users, batch.n_events, batch.width) == (4, 16, 4)
    assert batch.lengths.tolist() == [3, 1, 1, 4]
    assert batch.position.tolist() == [0, 1, 2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3]
    assert batch.user_of_event.tolist() == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4
    assert batch.offsets.tolist() == [0, 4, 8, 12, 16]
    assert batch.real.tolist() == (ITEMS > 0).tolist()
    assert batch.timestamps_s.tolist() == (ITEMS * 10).flatten().tolist()
    assert batch.features["event_type"].tolist() == (ITEMS % 3).flatten().tolist()


def test_its_layout_moves_nothing(batch):
    x = torch.randn(16, 5)
    layout = batch.layout
    (only,) = layout.rectangles
    assert (only.start, only.n, only.width, layout.n_slots) == (0, 4, 4, 16)
    assert only.lengths.tolist() == [3, 1, 1, 4]
    assert torch.equal(layout.pad(x), x)
    assert torch.equal(layout.unpad(x), x)


@pytest.mark.parametrize("readout", ["last", "mean", "attention"])
def test_pooling_is_that_of_the_ragged_rows(batch, readout):
    pooling = Pooling(readout, 5)
    if pooling.query is not None:
        torch.nn.init.normal_(pooling.query)
    rows = torch.randn(16, 5)
    found = pool(pooling, rows, batch)
    wanted = pooling(rows[batch.real.flatten()], OFFSETS)
    has = OFFSETS.diff() > 0
    torch.testing.assert_close(found[has], wanted[has])
    # Numbers in the padding are not read.
    rows[~batch.real.flatten()] = 1e6
    torch.testing.assert_close(pool(pooling, rows, batch)[has], wanted[has])


def test_a_recurrent_layer_steps_as_on_ragged_rows(batch):
    layer = GruLayer(5, 6, bias=True)
    rows, start = torch.randn(16, 5), torch.randn(4, 6)
    real, jagged = batch.real.flatten(), JaggedBatch(ITEMS[ITEMS > 0], ITEMS[ITEMS > 0], OFFSETS)
    packing = Packing.of(jagged.offsets)
    wanted = layer.run(rows[real], packing, start[packing.users])
    found = padded_gru.run(layer, batch.rectangle(rows).transpose(0, 1), start).transpose(0, 1)
    torch.testing.assert_close(found[batch.real], wanted)
    torch.testing.assert_close(padded_gru.after(layer, rows), layer.after(rows))
