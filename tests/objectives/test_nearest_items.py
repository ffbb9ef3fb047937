"""Nearest items by loops over pairs, whatever is held at once."""

import pytest
import torch

from usermodel.objectives import nearest_items as module
from usermodel.objectives.nearest_items import nearest_items


@pytest.mark.parametrize("held", [1, 60, module.PRODUCTS])
def test_equals_the_loop_over_pairs(monkeypatch, held):
    monkeypatch.setattr(module, "PRODUCTS", held)
    vectors = torch.randn(23, 5, generator=torch.Generator().manual_seed(0))
    products = {(i, j): float(vectors[i] @ vectors[j]) for i in range(23) for j in range(23)}
    low, high = min(products.values()), max(products.values())
    index, score = nearest_items(vectors)
    assert (index[0], score[0]) == (0, 0)
    for i in range(23):
        best = max((j for j in range(23) if j != i), key=lambda j: products[i, j])
        assert index[1 + i] == 1 + best
        assert float(score[1 + i]) == pytest.approx((products[i, best] - low) / (high - low), abs=1e-5)


def test_an_item_alone_has_none_and_equals_are_no_nearer_than_any():
    index, score = nearest_items(torch.ones(1, 3))
    assert index.tolist() == score.tolist() == [0, 0]
    assert nearest_items(torch.ones(0, 3))[0].tolist() == [0]
    index, score = nearest_items(torch.zeros(3, 2))
    assert score.tolist() == [0, 0, 0, 0]
    assert all(index[i] not in (0, i) for i in (1, 2, 3))


def test_there_is_no_gradient():
    vectors = torch.randn(4, 2, requires_grad=True)
    assert not nearest_items(vectors)[1].requires_grad
