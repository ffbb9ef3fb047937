"""WLR: its optimum is the mean."""

import math

import numpy as np
import pytest
import torch

from usermodel.heads.wlr import WlrConfig


def test_on_constant_features_the_guess_becomes_the_mean():
    rng = np.random.default_rng(0)
    label = rng.exponential(20.0, 500)
    torch.manual_seed(0)
    head = WlrConfig().fit(1, label, np.zeros(500)).double()
    x, y = torch.ones(500, 1, dtype=torch.float64), torch.from_numpy(label)
    optimiser = torch.optim.LBFGS(
        head.parameters(), max_iter=100, tolerance_grad=1e-10, line_search_fn="strong_wolfe"
    )

    def step():
        optimiser.zero_grad()
        loss = head.loss(x, y, torch.zeros(500))
        loss.backward()
        return loss

    optimiser.step(step)
    assert head(x[:1], torch.zeros(1)).item() == pytest.approx(label.mean(), rel=1e-5)


def test_the_loss_by_hand():
    """Mean 4; z = 0 for label 8: t = 2, p = 1/2, so -(2 log 1/2 + log 1/2) = 3 log 2; guess 4."""
    head = WlrConfig().fit(1, np.array([8.0, 0.0]), np.zeros(2))
    x = torch.zeros(1, 1)
    with torch.no_grad():
        head.out.bias.zero_()
    found = head.loss(x, torch.tensor([8.0]), torch.zeros(1))
    assert found.item() == pytest.approx(3 * math.log(2))
    assert head(x, torch.zeros(1)).item() == pytest.approx(4.0)
