"""A multi-layer perceptron: linear layers with rectifiers and dropout between them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Mlp(nn.Module):
    """``x <- drop(relu(W x + b))`` for each width.

    Attributes:
        dim: Width of what comes out: the last of ``widths``, or ``width`` where there is none.
        widest: The largest width of its layers.
        bf16: Whether products are bfloat16 in training; whoever trains sets it, and takes it back.
    """

    def __init__(self, width: int, widths: Sequence[int], dropout: float = 0.0) -> None:
        super().__init__()
        sizes = [width, *widths]
        self.layers = nn.Sequential()
        for before, after in pairwise(sizes):
            layer = nn.Linear(before, after)
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
            self.layers.extend([layer, nn.ReLU(), nn.Dropout(dropout)])
        self.dim, self.widest = sizes[-1], max(sizes)
        self.bf16 = False

    def forward(self, x: Float[Tensor, "rows width"]) -> Float[Tensor, "rows dim"]:
        """Each row alone."""
        if not (self.bf16 and self.training):
            found: Tensor = self.layers(x)
            return found
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            coarse: Tensor = self.layers(x)
        return coarse.to(x.dtype)
