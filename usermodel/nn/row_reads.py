"""Reading rows of a table that repeat: which are different, and sums of gradients by row without a sort."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float, Int64
from scipy.sparse import csc_array
from torch import Tensor
from torch.nn.functional import embedding

#: Rows of a table for each one that is read, up to which those that are read are marked and not sorted.
FEW: Final = 64


def distinct(
    rows: Int64[Tensor, " *n"], size: int
) -> tuple[Int64[Tensor, " distinct"], Int64[Tensor, " *n"]]:
    """Different numbers below ``size`` in ascending order, and the place of each of ``rows`` among them."""
    if rows.device.type != "cpu" or rows.numel() * FEW < size:
        once, place = torch.unique(rows, return_inverse=True)
        return once, place
    # Marks in a table are faster than a sort where many rows are read (make bench-ctr).
    at, seen = rows.numpy(), np.zeros(size, dtype=bool)
    seen[at] = True
    found = np.flatnonzero(seen)
    place_of = np.empty(size, dtype=np.int64)
    place_of[found] = np.arange(len(found))
    return torch.from_numpy(found), torch.from_numpy(place_of[at])


def repeat_rows(block: Float[Tensor, "distinct dim"], place: Int64[Tensor, " *n"]) -> Float[Tensor, "*n dim"]:
    """``block[place]``."""
    found: Tensor = _Repeat.apply(block, place)  # type: ignore[no-untyped-call]
    return found


class _Repeat(torch.autograd.Function):
    """The gradient is a sparse product, on a processor faster than what an embedding does (make bench-ctr)."""

    @staticmethod
    def forward(ctx: Any, block: Tensor, place: Tensor) -> Tensor:
        ctx.save_for_backward(place)
        ctx.shape = block.shape
        return embedding(place, block)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (place,) = ctx.saved_tensors
        n, dim = ctx.shape
        grad = grads[0].reshape(place.numel(), dim)
        if grad.device.type != "cpu" or grad.dtype not in {torch.float32, torch.float64}:
            # Half precision is too coarse for sums of many.
            total = torch.zeros(n, dim, device=grad.device).index_add_(0, place.flatten(), grad.float())
            return total.to(grad.dtype), None
        values = grad.numpy()
        # Column k has a single 1, in the row that read k goes to: columns of one number need no order.
        once = np.ones(len(values), dtype=values.dtype)
        small = np.int32 if max(len(values), n) < np.iinfo(np.int32).max else np.int64
        where, border = place.flatten().numpy().astype(small), np.arange(len(values) + 1, dtype=small)
        reads = csc_array((once, where, border), shape=(n, len(values)))
        return torch.from_numpy(np.ascontiguousarray(reads @ values)), None
