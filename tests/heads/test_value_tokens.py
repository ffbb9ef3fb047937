"""Values whose sums give every label."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usermodel.heads.value_tokens import END, FIRST, PAD, build_values, greedy, sequences


@given(st.lists(st.integers(0, 100_000), min_size=1, max_size=60))
@settings(max_examples=200, deadline=None)
def test_sums_give_every_label_exactly(labels):
    labels = np.array(labels, dtype=np.int64)
    values = build_values(labels)
    assert len(np.unique(values)) == len(values)
    assert (np.diff(values) < 0).all()
    np.testing.assert_array_equal(greedy(labels, values) @ values, labels)


def test_a_skewed_law_needs_few_values_and_short_sums():
    """20,000 log-normal milliseconds: about as many values, and sums as long, as measured for the released construction (47, 4.2)."""
    labels = np.round(np.random.default_rng(0).lognormal(9, 1.2, 20_000)).astype(np.int64)
    values = build_values(labels)
    counts = greedy(labels, values)
    np.testing.assert_array_equal(counts @ values, labels)
    assert 30 <= len(values) <= 60
    assert 3 <= counts.sum(1).mean() <= 6


def test_sequences_by_hand():
    """Values 10, 3, 1: 27 = 10 10 3 3 1, 4 = 3 1, 0 is nothing; at most four tokens."""
    values = np.array([10, 3, 1])
    a, b, c = FIRST, FIRST + 1, FIRST + 2
    found = sequences(np.array([27, 4, 0]), values, 5)
    assert found.tolist() == [[a, a, b, b, c, END], [b, c, END, PAD, PAD, PAD], [END, *[PAD] * 5]]
    assert sequences(np.array([27]), values, 4).tolist() == [[a, a, b, b, END]]
    assert sequences(np.array([0]), values, 5).tolist() == [[END]]


@pytest.mark.parametrize("labels", [[], [0, 0]])
def test_nothing_to_say_needs_no_value(labels):
    assert build_values(np.array(labels, dtype=np.int64)).tolist() == []


def test_labels_far_beyond_the_others_get_values_of_their_own():
    """A day among minutes: without them the largest value would be said some sixty times, and be cut off after twenty."""
    labels = np.append(np.tile(np.arange(1, 60), 40), 86_400)
    values = build_values(labels, 20)
    counts = greedy(labels, values)
    np.testing.assert_array_equal(counts @ values, labels)
    assert counts.sum(1).max() <= 20
    tokens = sequences(labels, values, 20)
    worth = np.append(np.zeros(FIRST, dtype=np.int64), values)
    np.testing.assert_array_equal(worth[tokens].sum(1), labels)


def test_a_long_sum_is_cut_before_it_is_written_out():
    tokens = sequences(np.array([10**12, 3]), np.array([1]), 4)
    assert tokens.shape == (2, 5)
    assert (tokens[0, :4] == FIRST).all()
