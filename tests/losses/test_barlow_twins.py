"""Barlow Twins' terms against sums by loops, at their minimum, and where correlations do not exist."""

import numpy as np
import pytest
import torch

from usermodel.losses.barlow_twins import barlow_twins, standardised


def test_the_terms_by_loops():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 7, 3))
    invariance = redundancy = 0.0
    for i in range(3):
        for j in range(3):
            a, b = first[:, i], second[:, j]
            c = sum((x - a.mean()) * (y - b.mean()) for x, y in zip(a, b, strict=True)) / 7
            c /= np.sqrt((a.var() + 1e-5) * (b.var() + 1e-5))
            if i == j:
                invariance += (1 - c) ** 2
            else:
                redundancy += c**2
    found = barlow_twins(torch.from_numpy(first), torch.from_numpy(second))
    assert found.invariance.item() == pytest.approx(invariance, rel=1e-12)
    assert found.redundancy.item() == pytest.approx(redundancy, rel=1e-12)


def test_equal_views_of_independent_dimensions_are_the_minimum():
    rows = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64) * 100
    found = barlow_twins(rows, rows + 5)
    assert found.invariance.item() == pytest.approx(0, abs=1e-12)
    assert found.redundancy.item() == pytest.approx(0, abs=1e-12)
    # Two dimensions that say the same: both off-diagonal entries are 1.
    twice = rows[:, [0, 0]]
    assert barlow_twins(twice, twice).redundancy.item() == pytest.approx(2, abs=1e-6)
    assert barlow_twins(rows, -rows).invariance.item() == pytest.approx(8, abs=1e-6)


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_examples_have_no_loss(n):
    rows = torch.ones(n, 3, requires_grad=True)
    found = barlow_twins(rows, rows)
    (found.invariance + found.redundancy).backward()
    assert found.invariance.item() == found.redundancy.item() == 0
    assert not rows.grad.any()


def test_examples_that_are_all_the_same_are_correlated_with_nothing():
    rows = torch.ones(4, 3, requires_grad=True)
    found = barlow_twins(rows, rows)
    (found.invariance + found.redundancy).backward()
    assert found.invariance.item() == 3
    assert found.redundancy.item() == 0
    assert rows.grad.isfinite().all()


def test_each_view_is_standardised_by_itself():
    rows = torch.randn(2, 50, 3, dtype=torch.float64) * torch.tensor([1.0, 5.0, 0.1]) + 7
    out = standardised(rows)
    torch.testing.assert_close(out.mean(1), torch.zeros(2, 3, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(
        out.var(1, correction=0), torch.ones(2, 3, dtype=torch.float64), atol=2e-3, rtol=0
    )
    torch.testing.assert_close(out[0], standardised(rows[0]))
