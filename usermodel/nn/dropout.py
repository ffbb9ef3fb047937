"""Dropout whose masks cost little on a processor.

PyTorch draws one number of its Mersenne twister for each entry there, which takes several times as long as the product that
the mask goes into. Here one draw of 64 bits decides four entries.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import dropout as torch_dropout

from usermodel.errors import ConfigError

_LEVELS = 1 << 16


class Dropout(nn.Module):
    """Zero entries with probability ``p`` and multiply the others by ``1 / (1 - p)`` (Srivastava et al. 2014), in training.

    Args:
        p: Probability. On a processor it is rounded to a multiple of 2^-16, and the factor with it, so that the mean stays.

    Raises:
        ConfigError: ``p`` is negative, or 1 or more.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            do = "Give the probability of a zero."
            raise ConfigError(
                "dropout", expected="a number from 0 up to, not including, 1", found=f"{p}", do=do
            )
        self.p = p

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """``x`` itself in evaluation."""
        return dropout(x, self.p if self.training else 0.0)

    def extra_repr(self) -> str:
        """What ``print`` shows."""
        return f"p={self.p}"


def dropout(x: Float[Tensor, "*shape"], p: float) -> Float[Tensor, "*shape"]:
    """``x`` with dropout; ``x`` itself when ``p`` is 0."""
    if not p:
        return x
    return x * keep_mask(x, p) if x.device.type == "cpu" else torch_dropout(x, p)


def keep_mask(like: Float[Tensor, "*shape"], p: float) -> Float[Tensor, "*shape"]:
    """0 with probability ``p``, else ``1 / (1 - p)``: what dropout multiplies by, with shape and type of ``like``."""
    if like.device.type != "cpu":
        return torch_dropout(torch.ones_like(like), p)
    n, dropped = like.numel(), min(round(p * _LEVELS), _LEVELS - 1)
    # All 64 bits: without bounds, int64 would be drawn without its sign.
    words = torch.empty((n + 3) // 4, dtype=torch.int64).random_(-(1 << 63), None)
    keep = words.view(torch.int16)[:n] >= dropped - _LEVELS // 2
    return keep.to(like.dtype).mul_(_LEVELS / (_LEVELS - dropped)).view(like.shape)
