import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from usermodel.negatives.alias import AliasTable, alias_table


def masses(accept, alias):
    """Probability of each item, slot by slot."""
    total = [0.0] * len(accept)
    for slot, (share, other) in enumerate(zip(accept, alias, strict=True)):
        total[slot] += share / len(accept)
        total[other] += (1 - share) / len(accept)
    return total


def test_by_hand():
    """Masses 0.4, 0.8, 1.8 of a slot: the third fills the first, and the second from what is left of it."""
    accept, alias = alias_table(np.array([0.4, 0.8, 1.8]))
    np.testing.assert_allclose(accept, [0.4, 0.8, 1.0])
    assert alias[:2].tolist() == [2, 2]


def test_a_heavy_that_gave_too_much_is_filled_by_the_next():
    """Masses 0.1, 0.1, 1.4, 2.4: the third gives 0.9, which leaves 0.5 of its slot; the fourth fills that."""
    accept, alias = alias_table(np.array([0.1, 0.1, 1.4, 2.4]))
    np.testing.assert_allclose(accept, [0.1, 0.1, 0.5, 1.0])
    assert alias.tolist() == [2, 3, 3, 3]


def test_a_heavy_with_nothing_too_much_keeps_its_slot():
    """Masses 0.5, 1, 1.5: the second fills nobody, and the third the first."""
    accept, alias = alias_table(np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(accept, [0.5, 1.0, 1.0])
    assert alias[0] == 2


WEIGHTS = st.one_of(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=30), st.lists(st.integers(0, 5), min_size=1, max_size=30)
)


@settings(max_examples=400, deadline=None)
@given(WEIGHTS.filter(lambda w: sum(w) > 1e-3))
def test_the_slots_hold_the_masses_of_the_items(weight):
    accept, alias = alias_table(np.array(weight, dtype=np.float64))
    assert ((accept >= 0) & (accept <= 1)).all()
    np.testing.assert_allclose(masses(accept, alias), np.array(weight) / sum(weight), atol=1e-12)


def test_a_skewed_table_of_many_items():
    weight = 1.0 / np.arange(1, 200_001)
    accept, alias = alias_table(weight)
    mass = (accept + np.bincount(alias, 1 - accept, minlength=len(weight))) / len(weight)
    np.testing.assert_allclose(mass, weight / weight.sum(), atol=2.0**-32 / len(weight))


@pytest.mark.parametrize("word", [-(1 << 63), -1, 0, 12345 << 30, (1 << 63) - 1])
def test_a_word_chooses_slot_and_item_as_whole_numbers_do(monkeypatch, word):
    """The arithmetic in place, beside Python's own numbers; the ends of the range among them."""
    weight = np.array([0.1, 0.1, 1.4, 2.4, 1.0])
    accept, alias = alias_table(weight)
    monkeypatch.setattr("usermodel.negatives.alias._words", lambda seed, start, n: np.full(n, word))
    table = AliasTable(weight)
    drawn, looked = table.draw((3,), None, torch.arange(6.0))
    assert torch.equal(drawn.float(), looked)
    # What other devices do, in torch.
    assert torch.equal(table._choose(torch.full((3,), word)), drawn)
    slot = ((word >> 32) + 2**31) * len(weight) >> 32
    own = (word & 0xFFFFFFFF) / 2**32 < accept[slot]
    assert drawn.tolist() == [(slot if own else alias[slot]) + 1] * 3


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_change_nothing_and_blocks_differ(monkeypatch, threads):
    monkeypatch.setattr("usermodel.negatives.alias._BLOCK", 1000)
    table, before = AliasTable(np.ones(1000)), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        ids, looked = table.draw((50, 51), torch.Generator().manual_seed(0), torch.arange(1001.0))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(ids.float(), looked)
    blocks = ids.flatten().split(1000)
    assert [len(block) for block in blocks] == [1000, 1000, 550]
    assert not torch.equal(blocks[0], blocks[1])
    # The first block is what a draw of its size alone gives, whatever comes after it.
    assert torch.equal(blocks[0], table.draw((1000,), torch.Generator().manual_seed(0))[0])


def test_an_item_of_no_weight_is_never_drawn_and_one_of_all_weight_always():
    ids = AliasTable(np.array([0.0, 3.0, 0.0])).draw((1000,), torch.Generator().manual_seed(0))[0]
    assert ids.unique().tolist() == [2]
