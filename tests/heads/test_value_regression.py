"""VR by hand."""

import math

import numpy as np
import pytest
import torch

from usermodel.heads.value_regression import ValueRegressionConfig


def head_of(loss, weight, bias, label=(1.0, 3.0)):
    """On one number a row; labels 1 and 3 have mean 2 and standard deviation 1."""
    head = ValueRegressionConfig(loss=loss, delta=0.5).fit(1, np.array(label), np.zeros(len(label)))
    with torch.no_grad():
        head.out.weight.fill_(weight)
        head.out.bias.fill_(bias)
    return head


@pytest.mark.parametrize(
    ("loss", "wanted"),
    # z = 0.5 and 2 for labels 1 (-1) and 3 (+1): errors 1.5 and 1.
    [("mse", (1.5**2 + 1) / 2), ("huber", (0.5 * (1.5 - 0.25) + 0.5 * (1 - 0.25)) / 2)],
)
def test_the_loss(loss, wanted):
    head = head_of(loss, 1.5, 0.5)
    found = head.loss(torch.tensor([[0.0], [1.0]]), torch.tensor([1.0, 3.0]), torch.zeros(2))
    assert found.item() == pytest.approx(wanted)


def test_guesses_are_not_below_zero():
    head = head_of("mse", 1.0, 0.0)
    assert head(torch.tensor([[1.0], [-5.0]]), torch.zeros(2)).tolist() == [3.0, 0.0]


def test_logarithms():
    """log(1 + y) of e - 1 and e^3 - 1 are 1 and 3: z of them -1 and 1."""
    head = head_of("log", 1.0, 0.0, label=(math.e - 1, math.e**3 - 1))
    label = torch.tensor([math.e - 1, math.e**3 - 1])
    assert head.loss(torch.tensor([[-1.0], [1.0]]), label, torch.zeros(2)).item() == pytest.approx(
        0, abs=1e-10
    )
    torch.testing.assert_close(head(torch.tensor([[-1.0], [1.0]]), torch.zeros(2)), label)
