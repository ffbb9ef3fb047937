"""The nearest item of each item, by the inner product of their vectors."""

from __future__ import annotations

from typing import Final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

#: Products that are held at once: 64 MiB of float32.
PRODUCTS: Final = 1 << 24


@torch.no_grad()
def nearest_items(
    vectors: Float[Tensor, "items dim"],
) -> tuple[Int64[Tensor, " table"], Float[Tensor, " table"]]:
    """The other item with the largest ``e_i . e_j``, and that product: from 0 for the least of all pairs to 1 for the largest.

    A pair of an item with itself is among all pairs, as in CoSeRec's released code, and is often the largest. Exact: the time
    grows with the square of the catalogue.

    Args:
        vectors: Of items 1, 2, ..., in order.

    Returns:
        Both by item index; at index 0, and of an item that is alone, 0.
    """
    n, device = len(vectors), vectors.device
    index = torch.zeros(n + 1, dtype=torch.int64, device=device)
    score = vectors.new_zeros(n + 1)
    if n < 2:
        return index, score
    low, high = vectors.new_tensor(torch.inf), vectors.new_tensor(-torch.inf)
    step = max(1, PRODUCTS // n)
    for start in range(0, n, step):
        products = vectors[start : start + step] @ vectors.T
        low, high = torch.minimum(low, products.min()), torch.maximum(high, products.max())
        own = torch.arange(len(products), device=device)
        products[own, start + own] = -torch.inf
        score[1 + start : 1 + start + step], place = products.max(1)
        index[1 + start : 1 + start + step] = place + 1
    # Vectors that are all alike have no spread.
    score[1:] = (score[1:] - low) / (high - low).clamp(min=torch.finfo(score.dtype).tiny)
    return index, score
