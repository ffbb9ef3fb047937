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

from usermodel.losses.softmax import CHUNK_LOGITS, CHUNK_ROWS


def rows_softmax(
    rows: Float[Tensor, "rows dim"],
    items: Float[Tensor, "classes dim"],
    row: Int64[Tensor, " targets"],
    target: Int64[Tensor, " targets"],
) -> Float[Tensor, ""]:
    """Mean over targets of ``-log softmax(rows[row] @ items.T)[target]``, exact.

    Logits are computed in chunks of rows and never are in memory at once. Gradients of gradients are refused.

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
    arguments = (rows, items, counts, torch.is_grad_enabled())
    partition: Tensor = _LogPartition.apply(*arguments)  # type: ignore[no-untyped-call]
    # A sum of products of rows is a product of sums: each row meets the sum of its targets.
    sums = torch.zeros_like(rows).index_add(0, row, items[target])
    return (partition - (rows * sums).sum()) / len(target)


class _LogPartition(torch.autograd.Function):
    """``sum over rows of weight * logsumexp(row @ items.T)``; the gradients are computed along."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, items: Tensor, weight: Tensor, graph: bool) -> Tensor:
        grad_rows, grad_items = torch.empty_like(rows), torch.zeros_like(items)
        total = rows.new_zeros(())
        step = _chunk(len(items), rows)
        buffer = rows.new_empty(len(items) * min(step, len(rows)))
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            chunk = rows[part]
            # Classes x rows, like the other softmax: both products are then of a tall matrix with a narrow one.
            p = buffer[: len(items) * len(chunk)].view(len(items), -1)
            torch.mm(items, chunk.T, out=p)
            highest = p.amax(0)
            p.sub_(highest).exp_()
            sums = p.sum(0)
            total += (weight[part] * (sums.log() + highest)).sum()
            if graph:
                share = (weight[part] / sums)[:, None]
                torch.mul(p.T @ items, share, out=grad_rows[part])
                grad_items.addmm_(p, chunk * share)
        ctx.save_for_backward(grad_rows, grad_items)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_rows, grad_items = ctx.saved_tensors
        return grad_rows * grads[0], grad_items * grads[0], None, None


def _chunk(classes: int, like: Tensor) -> int:
    rows = CHUNK_ROWS if like.device.type == "cpu" else CHUNK_LOGITS
    return max(1, min(rows, CHUNK_LOGITS // max(classes, 1)))
