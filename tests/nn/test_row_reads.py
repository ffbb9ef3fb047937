"""Reads that repeat: different rows and their places, and gradients that equal those of an embedding."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import embedding

from usermodel.nn.row_reads import FEW, distinct, repeat_rows


@given(st.lists(st.integers(0, 40), max_size=60), st.sampled_from([41, 41 * FEW * 100]))
def test_different_rows_in_order_and_where_each_read_finds_its_own(rows, size):
    once, place = distinct(torch.tensor(rows, dtype=torch.int64), size)
    assert once.tolist() == sorted(set(rows))
    assert once[place].tolist() == rows


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("dim", [1, 5])
@pytest.mark.parametrize("shape", [(0,), (7,), (4, 6)])
def test_gradients_are_those_of_an_embedding(dtype, dim, shape):
    torch.manual_seed(0)
    block = torch.randn(9, dim, dtype=dtype, requires_grad=True)
    place = torch.randint(0, 9, shape)
    weight = torch.randn(*shape, dim, dtype=dtype)
    found = repeat_rows(block, place)
    wanted = embedding(place, block)
    assert torch.equal(found, wanted)
    (one,) = torch.autograd.grad((found * weight).sum(), block)
    exact = torch.zeros(9, dim, dtype=torch.float64)
    exact.index_add_(0, place.flatten(), weight.double().reshape(-1, dim))
    torch.testing.assert_close(one, exact.to(dtype))


def test_rows_that_nobody_read_have_no_gradient():
    block = torch.ones(4, 2, requires_grad=True)
    repeat_rows(block, torch.tensor([2, 2, 0])).sum().backward()
    assert block.grad.tolist() == [[1, 1], [0, 0], [2, 2], [0, 0]]
