"""Softmax over the catalogue where a row has several targets: one row of logits a user, whatever the number of its items.

The loss is that of `usermodel.losses.softmax.full_softmax` with a user's vector repeated for each item it has taken (the multinomial
likelihood of Mult-VAE, Liang et al. 2018, eq. 2, up to a constant), for a share of the cost: 27 items a user are one row of logits
and not 27.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from usermodel.losses.precision import product_dtype
from usermodel.losses.softmax import LOG2_E, add_product, aligned, column_sums, is_safe, rows_of_chunk


def rows_softmax(
    rows: Float[Tensor, "rows dim"],
    items: Float[Tensor, "classes dim"],
    row: Int64[Tensor, " targets"],
    target: Int64[Tensor, " targets"],
) -> Float[Tensor, ""]:
    """Mean over targets of ``-log softmax(rows[row] @ items.T)[target]``, exact.

    Logits are computed in chunks of rows and never are in memory at once; types are those of
    `usermodel.losses.softmax.full_softmax`. Gradients of gradients are refused.

    Args:
        rows: One vector per user.
        items: One vector per class.
        row: Row of each target.
        target: Class of each target, 0 to classes - 1.

    Returns:
        The mean over targets; 0 with zero gradient when there is none.
    """
    if not len(target):
        return (rows.sum() + items.sum()) * 0
    counts = torch.bincount(row, minlength=len(rows)).to(rows.dtype)
    arguments = (rows, items, counts, product_dtype(rows), torch.is_grad_enabled())
    partition: Tensor = _LogPartition.apply(*arguments)  # type: ignore[no-untyped-call]
    # A sum of products of rows is a product of sums: each row meets the sum of its targets.
    sums = torch.zeros_like(rows).index_add(0, row, items[target])
    return (partition - (rows * sums).sum()) / len(target)


class _LogPartition(torch.autograd.Function):
    """``sum over rows of weight * logsumexp(row @ items.T)``; the gradients are computed along."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, items: Tensor, weight: Tensor, dtype: torch.dtype, graph: bool
    ) -> Tensor:
        wide = torch.promote_types(rows.dtype, torch.float32)
        # Binary logits, classes x rows: see the other softmax.
        h, w, shift = aligned(rows.to(dtype)), (items * LOG2_E).to(dtype), not is_safe(rows, items)
        # Rows that only fill up count for nothing.
        weight = pad(weight.to(wide), (0, len(h) - len(rows)))
        grad_rows, grad_items = torch.empty_like(h, dtype=wide), torch.zeros_like(items, dtype=wide)
        total = torch.zeros((), dtype=wide, device=rows.device)
        step = rows_of_chunk(len(h), len(items), h)
        buffer = h.new_empty(len(items) * min(step, len(h)))
        with torch.autocast(rows.device.type, enabled=False):
            for start in range(0, len(h), step):
                part = slice(start, start + step)
                chunk = h[part]
                p = buffer[: len(items) * len(chunk)].view(len(items), -1)
                torch.mm(w, chunk.T, out=p)
                highest = p.amax(0) if shift else None
                if highest is not None:
                    p.sub_(highest)
                p.exp2_()
                sums = column_sums(p, wide)
                logs = sums.log2() if highest is None else sums.log2() + highest
                total += (weight[part] * logs).sum()
                if graph:
                    share = (weight[part] / sums)[:, None]
                    # w holds the factor log2(e), which the gradient does not.
                    torch.mul((p.T @ w).to(wide), share / LOG2_E, out=grad_rows[part])
                    add_product(grad_items, p, (chunk.to(wide) * share).to(dtype))
        ctx.save_for_backward(grad_rows[: len(rows)], grad_items)
        ctx.types = rows.dtype, items.dtype
        return total / LOG2_E

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        pairs = zip(ctx.saved_tensors, ctx.types, strict=True)
        return (*((grad * grads[0]).to(dtype) for grad, dtype in pairs), None, None, None)
