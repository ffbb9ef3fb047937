"""A multi-layer perceptron: linear layers with rectifiers and dropout between them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn


class Mlp(nn.Module):
    """``x <- drop(relu(W x + b))`` for each width.

    Attributes:
        dim: Width of what comes out: the last of ``widths``, or ``width`` where there is none.
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
        self.dim = sizes[-1]

    def forward(self, x: Float[Tensor, "rows width"]) -> Float[Tensor, "rows dim"]:
        """Each row alone."""
        found: Tensor = self.layers(x)
        return found
