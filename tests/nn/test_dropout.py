import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from usermodel.errors import ConfigError
from usermodel.nn.dropout import Dropout, dropout, keep_mask


@pytest.mark.parametrize("p", [0.001, 0.1, 0.2, 0.5, 0.9])
def test_the_share_of_zeros_and_the_mean(p):
    torch.manual_seed(0)
    n = 400_000
    mask = keep_mask(torch.ones(n), p)
    values = mask.unique()
    assert len(values) == 2
    assert values[0] == 0
    # The factor belongs to the probability as it was rounded, to a multiple of 2^-16.
    assert float(values[1]) == pytest.approx(1 / (1 - p), rel=2**-16 / (1 - p))
    error = (p * (1 - p) / n) ** 0.5
    assert abs(float((mask == 0).float().mean()) - p) < 5 * error
    assert abs(float(mask.double().mean()) - 1) < 5 * error / (1 - p)


def test_the_four_entries_of_a_draw_are_independent():
    torch.manual_seed(1)
    kept = (keep_mask(torch.ones(1 << 18, 4), 0.3) > 0).double()
    correlation = torch.corrcoef(kept.T)
    assert float((correlation - torch.eye(4, dtype=torch.float64)).abs().max()) < 5 / 2**9
    assert float((kept.mean(0) - 0.7).abs().max()) < 5 * (0.21 / 2**18) ** 0.5


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(0, 7), max_size=3), st.sampled_from([torch.float32, torch.float64, torch.bfloat16])
)
def test_shape_and_type_are_those_of_the_input(shape, dtype):
    x = torch.ones(shape, dtype=dtype)
    found = dropout(x, 0.5)
    assert found.shape == x.shape
    assert found.dtype == dtype
    assert bool(((found == 0) | (found == 2)).all())


def test_the_gradient_has_the_same_zeros():
    x = torch.ones(1000, requires_grad=True)
    y = dropout(x, 0.4)
    (grad,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(grad, y.detach())


def test_nothing_happens_in_evaluation_or_at_zero():
    x, module = torch.randn(50), Dropout(0.5)
    assert not torch.equal(module(x), x)
    assert module.eval()(x) is x
    assert dropout(x, 0.0) is x
    assert torch.equal(dropout(x, 1e-12), x)


def test_the_seed_decides():
    x = torch.ones(999)
    torch.manual_seed(5)
    first, second = dropout(x, 0.5), dropout(x, 0.5)
    torch.manual_seed(5)
    assert torch.equal(dropout(x, 0.5), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("p", [-0.1, 1.0, 2.0])
def test_what_is_no_probability_of_a_zero_is_refused(p):
    with pytest.raises(
        ConfigError, match=f"dropout: expected a number from 0 up to, not including, 1; found {p}"
    ):
        Dropout(p)
