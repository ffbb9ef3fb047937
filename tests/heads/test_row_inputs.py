"""Rows and the one table of all their categories."""

import pytest
import torch

from usermodel.errors import DataError
from usermodel.heads.row_inputs import RowBatch, RowInputs, RowShape

SHAPE = RowShape((("a", 3), ("b", 2)), ("n",), vector_dim=2)


def batch(codes):
    n = len(codes)
    return RowBatch(torch.tensor(codes), torch.arange(n).float()[:, None], torch.ones(n, 2))


def test_equal_codes_of_two_fields_are_different_rows_and_unknown_has_one_for_each():
    torch.manual_seed(0)
    inputs = RowInputs(SHAPE, 4)
    assert inputs.table.n_items == 7
    found = inputs(batch([[1, 1], [0, 0], [3, 2]]))[:, :2].flatten(0, 1)
    assert torch.equal(found, inputs.table.weight[[2, 6, 1, 5, 4, 7]])
    assert len(torch.unique(found, dim=0)) == 6


def test_a_number_scales_a_vector_of_its_own():
    torch.manual_seed(0)
    inputs, rows = RowInputs(SHAPE, 4), batch([[1, 1], [2, 0], [3, 2]])
    found = inputs(rows)
    assert found.shape == (3, SHAPE.n_fields(4), 4) == (3, 4, 4)
    torch.testing.assert_close(found[:, 2], torch.tensor([[0.0], [1.0], [2.0]]) * inputs.of_numbers[0])


def test_a_ready_vector_fills_as_many_fields_as_it_needs():
    shape = RowShape((("a", 3),), (), vector_dim=5)
    assert shape.n_fields(4) == 3
    assert RowShape((("a", 3),)).n_fields(4) == 1
    torch.manual_seed(0)
    inputs = RowInputs(shape, 4)
    vectors = torch.randn(1000, 5)
    found = inputs(RowBatch(torch.ones(1000, 1, dtype=torch.int64), torch.zeros(1000, 0), vectors))
    assert found.shape == (1000, 3, 4)
    torch.testing.assert_close(found[:, 1:].flatten(1), vectors @ inputs.of_vectors.weight.T)
    # Fields of the vector are about as large as those of categories.
    assert 0.02 < float(found[:, 1:].std().detach()) < 0.1


def test_rows_of_another_shape_are_refused():
    rows = RowBatch(torch.zeros(1, 2, dtype=torch.int64), torch.zeros(1, 1), torch.zeros(1, 0))
    with pytest.raises(
        DataError, match="expected 2 fields, 1 numbers, vectors of width 2; found 2 fields, 1"
    ):
        RowInputs(SHAPE, 4)(rows)


def test_take():
    rows = batch([[1, 1], [2, 0], [3, 2]]).take(torch.tensor([2, 0]))
    assert len(rows) == 2
    assert rows.codes.tolist() == [[3, 2], [1, 1]]
    assert rows.numbers.tolist() == [[2.0], [0.0]]
