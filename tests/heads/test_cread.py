"""CREAD: restoration of hard answers, thresholds and the loss by hand."""

import math

import numpy as np
import pytest
import torch

from usermodel.heads.cread import ALPHAS, CreadConfig, choose_alpha, cut


@pytest.mark.parametrize("alpha", [None, 0.5])
def test_hard_answers_are_within_one_bin(alpha):
    rng = np.random.default_rng(0)
    label = np.round(rng.exponential(20, 2000), 2)
    head = CreadConfig(alpha=alpha).fit(2, label, np.zeros(2000))
    y = torch.from_numpy(label).float()
    restored, thresholds = head.decode(head.encode(y)), head.thresholds
    place = torch.searchsorted(thresholds, y)  # the bin's upper end
    width = thresholds[place] - thresholds[(place - 1).clamp(min=0)]
    error = y - restored
    assert float(error.min()) > -1e-3
    assert bool((error <= width + 1e-3).all())


def test_thresholds_by_hand():
    """alpha ln 4, two bins: g(1/2) = (1 - 1/2) / (1 - 1/4) = 2/3 of labels 0 to 9 is the sixth."""
    thresholds, share = cut(np.arange(10.0), 2, math.log(4))
    assert share.tolist() == pytest.approx([0, 2 / 3, 1])
    assert thresholds.tolist() == [0.0, 6.0, 9.0]


def test_guesses_begin_at_zero_whatever_the_smallest_label():
    head = CreadConfig(bins=2, alpha=0.001).fit(1, np.array([4.0, 6.0, 8.0]), np.zeros(3))
    assert head.thresholds.tolist() == [0.0, 6.0, 8.0]
    assert head.decode(torch.tensor([[1.0, 1.0], [0.5, 0.0]])).tolist() == [8.0, 3.0]


def test_alpha_has_the_least_error():
    """By the formula, over the whole grid, written as loops."""
    label = np.sort(np.random.default_rng(0).lognormal(2, 1, 3000))

    def error(alpha):
        thresholds, share = cut(label, 50, alpha)
        f = t = of_learning = 0.0
        for m in range(50):
            df, dt = share[m + 1] - share[m], thresholds[m + 1] - thresholds[m]
            f, t, of_learning = f + df**2, t + dt**2, of_learning + dt**2 / df
        return f * of_learning + 50 * f * t

    assert choose_alpha(label, 50) == min(ALPHAS, key=error)


def test_the_loss_by_hand():
    """Thresholds 0, 6, 8, labels' std 2; p = 1/2, 3/4: guess 3 + 1.5; label 7 is longer than 6 alone."""
    head = CreadConfig(bins=2, alpha=0.001, error=0.5, order=0.1).fit(
        1, np.array([4.0, 6.0, 8.0]), np.zeros(3)
    )
    with torch.no_grad():
        head.out.weight.zero_()
        head.out.bias.copy_(torch.tensor([0.0, math.log(3)]))
    std = np.array([4.0, 6.0, 8.0]).std()
    error = (7 - 4.5) / std
    wanted = (math.log(2) + math.log(4)) / 2 + 0.5 * (error - 0.5) + 0.1 * 0.25
    found = head.loss(torch.zeros(1, 1), torch.tensor([7.0]), torch.zeros(1))
    assert found.item() == pytest.approx(wanted, rel=1e-5)
    assert head(torch.zeros(1, 1), torch.zeros(1)).item() == pytest.approx(4.5)
