from itertools import pairwise, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from usermodel.nn import ragged
from usermodel.nn.ragged import Layout

LENGTHS = st.lists(st.integers(0, 40), max_size=12)


def offsets_of(lengths: list[int]) -> torch.Tensor:
    return torch.tensor([0, *lengths]).cumsum(0)


@settings(max_examples=60, deadline=None)
@given(LENGTHS)
def test_unpad_undoes_pad(lengths):
    layout = Layout.of(offsets_of(lengths))
    x = torch.randn(sum(lengths), 3)
    assert torch.equal(layout.unpad(layout.pad(x)), x)


@settings(max_examples=60, deadline=None)
@given(LENGTHS)
def test_in_order_a_rectangle_per_length_and_nothing_moved(lengths):
    lengths.sort()
    layout = Layout.in_order(torch.tensor(lengths, dtype=torch.int64))
    x = torch.arange(sum(lengths), dtype=torch.float32)[:, None]
    assert torch.equal(layout.pad(x), x)
    filled = [n for n in lengths if n]
    assert [one.width for one in layout.rectangles] == sorted(set(filled))
    assert [n for one in layout.rectangles for n in one.lengths.tolist()] == filled
    assert [one.start for one in layout.rectangles] == [
        sum(n for n in filled if n < width) for width in sorted(set(filled))
    ]
    if filled:
        assert layout.last(x)[:, 0].tolist() == [sum(filled[: i + 1]) - 1 for i in range(len(filled))]


@settings(max_examples=60, deadline=None)
@given(LENGTHS)
def test_each_rectangle_holds_whole_users_on_the_left_and_zeros_on_the_right(lengths):
    offsets = offsets_of(lengths)
    layout = Layout.of(offsets)
    x = torch.arange(1, sum(lengths) + 1, dtype=torch.float32)[:, None]
    padded = layout.pad(x)[:, 0]
    wanted = sorted(x[start:stop, 0].tolist() for start, stop in pairwise(offsets.tolist()) if stop > start)
    found = []
    for one in layout.rectangles:
        for row, length in zip(
            padded[one.start : one.stop].view(one.n, one.width), one.lengths.tolist(), strict=True
        ):
            found.append(row[:length].tolist())
            assert not row[length:].any()
    assert sorted(found) == wanted
    assert layout.n_slots == len(padded)


@settings(max_examples=60, deadline=None)
@given(LENGTHS)
def test_a_rectangle_is_as_wide_as_its_longest_user_and_longer_users_are_in_later_ones(lengths):
    rectangles = Layout.of(offsets_of(lengths)).rectangles
    assert [one.width for one in rectangles] == [int(one.lengths.max()) for one in rectangles]
    for before, after in pairwise(rectangles):
        assert before.width < int(after.lengths.min())


@settings(max_examples=60, deadline=None)
@given(LENGTHS)
def test_at_most_half_of_a_rectangle_is_padding_where_rectangles_are_free(lengths):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ragged.RECTANGLE_COST, "cpu", 0)
        for one in Layout.of(offsets_of(lengths)).rectangles:
            assert 2 * int(one.lengths.min()) >= one.width


@settings(max_examples=60, deadline=None)
@given(LENGTHS, st.integers(0, 3000))
def test_no_other_way_to_join_neighbouring_groups_costs_less(lengths, cost):
    """Against every way there is: each border between two groups is kept or not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ragged.RECTANGLE_COST, "cpu", cost)
        found = Layout.of(offsets_of(lengths)).rectangles
    by_class: dict[int, list[int]] = {}
    for length in lengths:
        if length:
            by_class.setdefault(max((length - 1).bit_length(), 1), []).append(length)
    groups = [by_class[one] for one in sorted(by_class)]
    costs = []
    for kept in product([False, True], repeat=max(len(groups) - 1, 0)):
        joined = groups[:1]
        for border, group in zip(kept, groups[1:], strict=True):
            joined = [*joined, group] if border else [*joined[:-1], joined[-1] + group]
        costs.append(sum(cost + len(one) * max(one) ** 2 for one in joined))
    assert sum(cost + one.n * one.width**2 for one in found) == min(costs)


def test_users_without_events_have_no_place():
    layout = Layout.of(offsets_of([0, 3, 0]))
    assert [one.n for one in layout.rectangles] == [1]
    assert layout.slot.tolist() == [0, 1, 2]


def test_an_empty_batch_is_an_empty_layout():
    for offsets in (torch.tensor([0]), torch.tensor([0, 0, 0])):
        layout = Layout.of(offsets)
        assert layout.rectangles == ()
        assert layout.pad(torch.zeros(0, 4)).shape == (0, 4)


def test_gradients_of_both_copies():
    layout = Layout.of(offsets_of([3, 1, 0, 5]))
    x = torch.randn(9, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layout.pad, (x,))
    padded = torch.randn(layout.n_slots, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layout.unpad, (padded,))
    assert torch.autograd.gradgradcheck(lambda y: layout.unpad(layout.pad(y)).square(), (x,))
