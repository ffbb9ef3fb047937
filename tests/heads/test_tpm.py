"""TPM: the law of the leaves, paths and the loss by hand."""

import math

import numpy as np
import pytest
import torch

from usermodel.heads.tpm import TpmConfig


def head_of(depth=2, label=(1.0, 2.0, 3.0, 4.0), **options):
    return TpmConfig(depth=depth, **options).fit(3, np.array(label), np.zeros(len(label)))


@pytest.mark.parametrize("depth", [1, 3, 5])
def test_probabilities_of_leaves_sum_to_one_and_are_products_along_paths(depth):
    torch.manual_seed(0)
    head = head_of(depth)
    nodes = 3 * torch.randn(7, 2**depth - 1)
    law = head.leaf_law(nodes)
    torch.testing.assert_close(law.sum(1), torch.ones(7))
    for leaf in range(2**depth):
        path, right = head.paths(torch.full((7,), leaf))
        p = nodes.gather(1, path).sigmoid()
        torch.testing.assert_close(law[:, leaf], torch.where(right > 0, p, 1 - p).prod(1))


def test_paths_by_hand():
    """Leaf 1 of 4: left at the root, right at node 1; leaf 2: right at the root, left at node 2."""
    path, right = head_of().paths(torch.tensor([1, 2]))
    assert path.tolist() == [[0, 1], [0, 2]]
    assert right.tolist() == [[0.0, 1.0], [1.0, 0.0]]


def test_leaves_are_quantiles_and_labels_fall_into_them():
    head = head_of(2, np.arange(1, 101, dtype=float))
    leaf = head.encode(torch.arange(1.0, 101.0))
    assert torch.bincount(leaf).tolist() == [25, 25, 25, 25]
    low, high = 1.0, 1 + 99 / 4
    assert head.middles[0].item() == pytest.approx((low + high) / 2)


def test_zeros_that_fill_leaves_are_guessed_exactly():
    head = head_of(2, [0.0] * 60 + [8.0] * 40)
    assert head.encode(torch.tensor([0.0])).item() == 0
    assert head.middles[0].item() == 0.0


def test_the_loss_by_hand():
    """All nodes at 0: each leaf 1/4; two questions cost 2 log 2. Middles of 1, 2, 3, 4: 1.375, 2.125, 2.875, 3.625."""
    head = head_of(error=0.5, spread=0.25)
    with torch.no_grad():
        head.out.weight.zero_()
        head.out.bias.zero_()
    std = math.sqrt(1.25)
    middles = np.array([1.375, 2.125, 2.875, 3.625])
    wanted = 2 * math.log(2) + 0.5 * ((2.5 - 4) / std) ** 2 + 0.25 * middles.std() / std
    found = head.loss(torch.zeros(1, 3), torch.tensor([4.0]), torch.zeros(1))
    assert found.item() == pytest.approx(wanted, rel=1e-5)
    assert head(torch.zeros(1, 3), torch.zeros(1)).item() == pytest.approx(2.5)
