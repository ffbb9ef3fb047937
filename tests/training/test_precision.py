import pytest
import torch

from usermodel.losses.precision import product_dtype
from usermodel.training.precision import WIDE, has_bf16, products, uses_bf16, without_denormals

CPU = torch.device("cpu")


@pytest.mark.parametrize(("dim", "encoder"), [(WIDE - 1, torch.float32), (WIDE, torch.bfloat16)])
def test_bf16_reaches_the_loss_always_and_wide_encoders(dim, encoder):
    x = torch.ones(2, 2)
    with products(bf16=True, device=CPU, dim=dim):
        assert product_dtype(x) == torch.bfloat16
        assert (x @ x).dtype == encoder
    assert product_dtype(x) == torch.float32
    assert (x @ x).dtype == torch.float32


def test_fp32_changes_nothing():
    with products(bf16=False, device=CPU, dim=10_000):
        assert product_dtype(torch.ones(1)) == torch.float32
        assert not torch.is_autocast_enabled("cpu")


def test_auto_is_what_the_processor_has():
    assert uses_bf16("bf16", CPU)
    assert not uses_bf16("fp32", CPU)
    assert uses_bf16("auto", CPU) == has_bf16(CPU)


def test_numbers_below_normal_are_zero_within_and_only_there():
    def small():
        return (torch.tensor([1e-39]) * 1.0).item()

    assert small() > 0
    with without_denormals():
        assert small() == 0
        with without_denormals():
            assert small() == 0
        assert small() == 0
    assert small() > 0
