"""Crop, mask, reorder and their mixture: sizes of the released code of AdaptSSR, and uniform draws."""

import collections

import pytest
import torch
from scipy import stats

from tests.views.test_contract import make, users_of
from usermodel.views.crop import Crop
from usermodel.views.mask import Mask
from usermodel.views.one_of import OneOf
from usermodel.views.reorder import Reorder

#: Events: kept by crop, hidden by mask, shuffled by reorder, with ratios 0.4, 0.6 and 0.6.
SIZES = {1: (1, 0, 1), 2: (1, 1, 2), 3: (2, 2, 2), 5: (2, 3, 3), 10: (4, 6, 6)}


@pytest.mark.parametrize(("n", "sizes"), SIZES.items())
def test_the_published_sizes(n, sizes):
    torch.manual_seed(0)
    batch = make([list(range(1, n + 1))] * 200)
    assert Crop()(batch).lengths.unique().tolist() == [sizes[0]]
    assert Mask()(batch).masked.view(200, n).sum(1).unique().tolist() == [sizes[1]]
    items = Reorder()(batch).item_index.view(200, n)
    moved = (items != torch.arange(1, n + 1)).long()
    # Everything that moved lies within a piece.
    first, last = moved.argmax(1), n - 1 - moved.flip(1).argmax(1)
    assert ((last - first + 1)[moved.any(1)] <= sizes[2]).all()
    assert n < 3 or bool(((last - first + 1)[moved.any(1)] == sizes[2]).any())


def test_a_crop_is_a_piece_and_every_start_is_as_likely():
    torch.manual_seed(0)
    out = Crop(ratio=0.4)(make([list(range(1, 11))] * 7000))
    starts = collections.Counter()
    for user in users_of(out):
        items = [row[0] for row in user]
        assert items == list(range(items[0], items[0] + 4))
        starts[items[0]] += 1
    assert sorted(starts) == list(range(1, 8))
    assert stats.chisquare(list(starts.values())).pvalue > 0.001


def test_every_event_is_hidden_as_often_and_items_stay():
    torch.manual_seed(0)
    batch = make([list(range(1, 8))] * 5000)
    out = Mask(ratio=0.3)(batch)
    assert torch.equal(out.item_index, batch.item_index)
    hidden = out.masked.view(5000, 7).sum(0)
    assert hidden.sum() == 5000 * 3
    assert stats.chisquare(hidden.tolist()).pvalue > 0.001
    # What was hidden before stays hidden.
    again = Mask(ratio=0.3)(out)
    assert again.masked[out.masked].all()
    assert again.masked.sum() > out.masked.sum()


def test_a_piece_is_shuffled_uniformly_and_its_times_stay():
    torch.manual_seed(0)
    batch = make([[1, 2, 3]] * 6000)
    out = Reorder(ratio=1.0)(batch)
    assert torch.equal(out.timestamps_s, batch.timestamps_s)
    orders = collections.Counter(map(tuple, out.item_index.view(-1, 3).tolist()))
    assert len(orders) == 6
    assert stats.chisquare(list(orders.values())).pvalue > 0.001


def test_one_view_is_drawn_for_each_user():
    torch.manual_seed(0)
    n, batch = 6000, make([list(range(1, 11))] * 6000)
    out = OneOf(views=(Crop(), Mask(), Reorder()))(batch)
    kinds = collections.Counter()
    for user, before in zip(users_of(out), users_of(batch), strict=True):
        hidden = sum(row[3] for row in user)
        kinds["crop" if len(user) == 4 else "mask" if hidden else "reorder"] += 1
        assert (len(user), hidden) in {(4, 0), (10, 6), (10, 0)}
        assert len(user) == 4 or sorted(row[0] for row in user) == sorted(row[0] for row in before)
    assert stats.chisquare(list(kinds.values())).pvalue > 0.001
    assert sum(kinds.values()) == n


def test_of_one_event_nothing_is_hidden():
    torch.manual_seed(0)
    out = OneOf(views=(Mask(), Crop()))(make([[5]] * 100))
    assert out.masked is None or not out.masked.any()
    assert OneOf(views=(Mask(),)).fits(torch.tensor([1, 2])).tolist() == [False, True]
