"""Substitute and insert: counts of CoSeRec's released code, what is put where, and short histories apart from long ones."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tests.views.test_contract import HISTORIES, make, users_of
from usermodel.views.by_length import ByLength
from usermodel.views.crop import Crop
from usermodel.views.insert import Insert
from usermodel.views.one_of import OneOf
from usermodel.views.similar import SIMILAR, with_similar, without_similar
from usermodel.views.substitute import Substitute


@pytest.mark.parametrize("ratio", [0.1, 0.4, 0.7, 1.0])
@pytest.mark.parametrize("n", [1, 2, 5, 10, 13])
def test_the_published_counts(n, ratio):
    expected = max(int(ratio * n), 1)
    batch = make([list(range(1, n + 1))] * 100)
    torch.manual_seed(0)
    changed = Substitute(ratio=ratio)(batch)
    assert (changed.item_index != batch.item_index).view(100, n).sum(1).unique().tolist() == [expected]
    longer = Insert(ratio=ratio)(batch)
    assert longer.lengths.unique().tolist() == [n + expected]


@given(histories=HISTORIES, seed=st.integers(0, 20))
def test_items_give_way_to_their_own_similar_ones(histories, seed):
    torch.manual_seed(seed)
    batch = make(histories)
    out = Substitute(ratio=0.5)(batch)
    assert torch.equal(out.offsets, batch.offsets)
    assert torch.equal(out.timestamps_s, batch.timestamps_s)
    assert bool(((out.item_index == batch.item_index) | (out.item_index == batch.features[SIMILAR])).all())


@given(histories=HISTORIES, seed=st.integers(0, 20))
def test_new_items_stand_before_their_own_ones(histories, seed):
    torch.manual_seed(seed)
    batch = make(histories)
    for before, after in zip(users_of(batch), users_of(Insert(ratio=0.5)(batch)), strict=True):
        assert [row for row in after if row[0] <= 100] == list(before)
        for place, (item, *rest) in enumerate(after):
            if item > 100:
                assert after[place + 1] == (item - 100, *rest)


@pytest.mark.parametrize("view", [Substitute(ratio=0.3), Insert(ratio=0.3)], ids=["substitute", "insert"])
def test_every_event_is_picked_as_often(view):
    torch.manual_seed(0)
    items = view(make([list(range(1, 8))] * 5000)).item_index
    counts = torch.bincount(items[items > 100] - 101)
    assert counts.sum() == 5000 * 2
    assert stats.chisquare(counts.tolist()).pvalue > 0.001


def test_items_without_a_similar_one_and_hidden_ones_are_passed_over():
    torch.manual_seed(0)
    table = torch.zeros(41, dtype=torch.int64)
    table[[2, 3]] = torch.tensor([32, 33])
    batch = with_similar(without_similar(make([[1, 2, 4, 3], [5, 1], [2]])), table)
    batch = dataclasses.replace(batch, masked=torch.tensor([0, 0, 0, 1, 0, 0, 0]).bool())
    # Of four events two may change, one of them is hidden; the second user has nothing to change.
    assert Substitute(ratio=1)(batch).item_index.tolist() == [1, 32, 4, 3, 5, 1, 32]
    out = Insert(ratio=1)(batch)
    assert out.item_index.tolist() == [1, 32, 2, 4, 3, 5, 1, 32, 2]
    assert out.offsets.tolist() == [0, 5, 7, 9]
    assert out.masked.tolist() == [False, False, False, False, True, False, False, False, False]
    # One pick falls on the event that can change.
    assert Substitute(ratio=0.25)(batch).item_index.tolist() == [1, 32, 4, 3, 5, 1, 32]


def test_the_column_comes_and_goes():
    batch = without_similar(make([[1, 2]]))
    assert list(batch.features) == ["price"]
    assert with_similar(batch, torch.arange(41) + 1).features[SIMILAR].tolist() == [2, 3]


def test_short_histories_have_views_of_their_own():
    view = ByLength(threshold=3, short=Substitute(ratio=1), long=Crop(ratio=0.5))
    assert not view.masks
    assert view.reads_similar
    out = view(make([[1, 2, 3], [4, 5, 6, 7], []]))
    assert out.lengths.tolist() == [3, 2, 0]
    assert out.item_index[:3].tolist() == [101, 102, 103]
    assert (out.item_index[3:] <= 7).all()
    # What has become short by a view is not changed again.
    grown = ByLength(threshold=3, short=Insert(ratio=1), long=Substitute(ratio=1))(make([[1, 2, 3]]))
    assert grown.item_index.tolist() == [101, 1, 102, 2, 103, 3]


def test_the_defaults_are_those_of_coserec():
    kinds = {}
    for n in (4, 5):
        torch.manual_seed(0)
        batch = make([list(range(1, n + 1))] * 2000)
        out = ByLength()(batch)
        assert not (out.lengths == 0).any()
        cropped = (out.lengths < n).double().mean()
        inserted = (out.lengths > n).double().mean()
        kinds[n] = round(float(cropped), 1), round(float(inserted), 1)
    assert kinds == {4: (0.0, 0.3), 5: (0.2, 0.2)}
    assert isinstance(ByLength().long, OneOf)
