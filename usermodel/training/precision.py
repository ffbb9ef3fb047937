"""Which products of a training step are computed in bfloat16."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Final, Literal

import torch

from usermodel.losses.precision import products_in

Precision = Literal["auto", "fp32", "bf16"]
#: Width from which a processor computes the encoder in bfloat16 too. Below, the kernels that oneDNN compiles for each new
#: number of events cost more than is gained in small batches, and little is gained in large ones, for coarser rounding.
WIDE: Final = 256


def uses_bf16(precision: Precision, device: torch.device) -> bool:
    """What ``auto`` means on a device."""
    return has_bf16(device) if precision == "auto" else precision == "bf16"


def has_bf16(device: torch.device) -> bool:
    """Whether bfloat16 products are faster than float32 ones on a device; emulation on old processors is not."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


@contextmanager
def without_denormals() -> Iterator[None]:
    """Within it, a processor takes numbers below 1e-38 for 0.

    Softmaxes over far-apart scores leave many of them, and each costs many times as much as another number: contrasts of dot
    products, which have no bound, slowed most. Threads begin with the setting of the one that starts them.
    """
    was = not bool((torch.tensor([1e-39]) * 1.0).any())
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(was)


def products(*, bf16: bool, device: torch.device, dim: int) -> AbstractContextManager[object]:
    """Within it, products are float32, or bfloat16: those of the loss, and those of an encoder for which that is faster."""
    found = ExitStack()
    if bf16:
        found.enter_context(products_in(torch.bfloat16))
        if device.type != "cpu" or dim >= WIDE:
            found.enter_context(torch.autocast(device.type, dtype=torch.bfloat16))
    return found
