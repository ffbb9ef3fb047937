"""C-Mixup: rows are mixed with rows of about the same label.

Source: Yao et al., "C-Mixup: Improving Generalization in Regression" (NeurIPS 2022): partner j of row i with probability
``P(j | i) ~ exp(-(y_i - y_j)^2 / (2 sigma^2))``, shares from Beta(alpha, alpha). Pairs are drawn within the batch.
"""

from __future__ import annotations

from typing import Final

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.distributions import Beta

#: Rows whose weights of all others are in memory at once.
_BLOCK: Final = 1024


def partners(label: Float[Tensor, " rows"], sigma: float) -> Int64[Tensor, " rows"]:
    """A partner for each row, itself among the possible ones; by torch's generator.

    With sigma near 0 partners have the label itself, with a large one all rows are as likely.
    """
    if not len(label):
        return torch.zeros(0, dtype=torch.int64, device=label.device)
    found = []
    for own in torch.split(label, _BLOCK):
        apart = (own[:, None] - label).square() / (2 * sigma**2)
        # The row itself is at distance 0, so the largest weight is 1.
        found.append(torch.multinomial((-apart).exp(), 1).squeeze(1))
    return torch.cat(found)


def shares(n: int, alpha: float, like: Tensor) -> Float[Tensor, " rows"]:
    """How much of itself each row keeps."""
    drawn: Tensor = Beta(alpha, alpha).sample((n,))
    return drawn.to(like)
