"""C-Mixup: its two ends, and the law of partners."""

import numpy as np
import torch
from scipy import stats

from usermodel.nn.c_mixup import partners, shares


def test_with_sigma_near_zero_partners_have_the_label_itself():
    label = torch.tensor([0.0, 1.0, 0.0, 2.0]).repeat(10)
    torch.manual_seed(0)
    assert torch.equal(label[partners(label, 1e-3)], label)


def test_partners_follow_the_law():
    """Labels 0, 1, 2: from 0 with sigma 1 weights 1, exp(-1/2), exp(-2); with a huge sigma all alike."""
    torch.manual_seed(0)
    label = torch.tensor([0.0, 1.0, 2.0])
    for sigma, weights in ((1.0, np.exp([0, -0.5, -2.0])), (1e6, np.ones(3))):
        drawn = np.bincount([int(partners(label, sigma)[0]) for _ in range(3000)], minlength=3)
        assert stats.chisquare(drawn, weights / weights.sum() * 3000).pvalue > 1e-3


def test_shares_are_beta():
    torch.manual_seed(0)
    found = shares(5000, 2.0, torch.zeros(1)).numpy()
    assert stats.kstest(found, stats.beta(2, 2).cdf).pvalue > 1e-3


def test_no_row():
    assert partners(torch.zeros(0), 1.0).shape == shares(0, 2.0, torch.zeros(1)).shape == (0,)
