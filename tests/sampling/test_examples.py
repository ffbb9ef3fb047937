"""Slices that several examples share."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from usermodel.sampling.protocol import Examples


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=30))
def test_each_different_slice_once_and_where_every_example_finds_its_own(ends):
    start = np.array([low for low, _ in ends], dtype=np.int64)
    stop = start + np.array([length for _, length in ends], dtype=np.int64)
    zero = np.zeros_like(start)
    examples = Examples(zero, start, stop, stop, stop, zero)
    first, place = examples.distinct()
    slices = list(zip(start.tolist(), stop.tolist(), strict=True))
    assert len(first) == len(set(slices))
    assert [slices[first[at]] for at in place] == slices
