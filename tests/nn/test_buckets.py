import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from usermodel.nn.buckets import log_buckets


def test_hstus_formula():
    x = torch.tensor([0, 1, 2, 3, 4, 60, 3_600, 86_400, 31_536_000, -86_400])
    wanted = [int(math.log(max(abs(v), 1)) / 0.301) for v in x.tolist()]
    assert log_buckets(x, 128).tolist() == wanted
    assert wanted == [0, 0, 2, 3, 4, 13, 27, 37, 57, 37]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(-(2**62), 2**62)), st.integers(1, 128))
def test_buckets_never_fall_and_stay_in_range(values, n):
    found = log_buckets(torch.tensor(sorted(values, key=abs), dtype=torch.int64), n)
    assert bool((found.diff() >= 0).all())
    assert bool(((found >= 0) & (found < n)).all())


def test_any_shape():
    assert log_buckets(torch.zeros(2, 0, 3, dtype=torch.int64), 5).shape == (2, 0, 3)
    assert log_buckets(torch.full((2, 2), 10**9), 1).tolist() == [[0, 0], [0, 0]]
