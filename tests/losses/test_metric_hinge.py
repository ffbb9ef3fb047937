"""The hinge of CML row by row, and the penalty on covariance against numpy."""

import math

import numpy as np
import pytest
import torch

from usermodel.losses.metric_hinge import covariance_penalty, metric_hinge


def test_value_and_gradient_by_hand():
    """Row 1: excesses 1.5 + 0.2 - (0.5, 2, 1.0) = 1.2, -0.3, 0.7: 2 of 3 draws, rank 20 of 30. Row 2: no impostor."""
    positive = torch.tensor([0.2, 0.1], dtype=torch.float64, requires_grad=True)
    negative = torch.tensor([[0.5, 2.0, 1.0], [1.7, 2.0, 3.9]], dtype=torch.float64, requires_grad=True)
    loss = metric_hinge(positive, negative, n_items=30)
    weight = math.log(21)
    assert loss.item() == pytest.approx(weight * 1.2 / 2, rel=1e-12)
    near, far = torch.autograd.grad(loss, [positive, negative])
    assert near.tolist() == pytest.approx([weight / 2, 0.0])
    assert far.flatten().tolist() == pytest.approx([-weight / 2, 0, 0, 0, 0, 0])


def test_a_hit_is_no_impostor():
    positive, negative = torch.tensor([0.2, 0.2]), torch.tensor([[0.2, 2.0, 1.0], [0.2, 0.2, 0.2]])
    hit = negative == 0.2
    loss = metric_hinge(positive, negative, hit, n_items=30)
    assert loss.item() == pytest.approx(math.log(11) * 0.7 / 2, rel=1e-6)
    positive.requires_grad_()
    (grad,) = torch.autograd.grad(metric_hinge(positive, negative, hit, n_items=30), [positive])
    assert grad.tolist() == pytest.approx([math.log(11) / 2, 0.0])


def test_no_row_is_zero():
    assert metric_hinge(torch.zeros(0), torch.zeros(0, 3), n_items=5).item() == 0.0


def test_covariance_penalty_is_numpys():
    vectors = torch.randn(40, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    covariance = np.cov(vectors.numpy().T, bias=True)
    wanted = sum(covariance[i, j] ** 2 for i in range(6) for j in range(6) if i != j) / 6
    assert covariance_penalty(vectors).item() == pytest.approx(wanted, rel=1e-10)
    assert covariance_penalty(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]])).item() == 0.0
    assert covariance_penalty(torch.ones(1, 3)).item() == 0.0
    assert covariance_penalty(torch.ones(0, 3)).item() == 0.0
