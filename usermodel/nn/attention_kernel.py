"""Attention of one rectangle with its gradient: fewer and larger operations than autograd would record.

Scaled dot-product attention (Vaswani et al. 2017, equation 1) with a term added to the scores. PyTorch's own kernels refuse
dropout and a bias that learns on a processor; ``make bench-pieces`` times both without.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from usermodel.nn.dropout import keep_mask


def attend(
    qkv: Float[Tensor, "3 users heads width d"],
    added: Float[Tensor, "users_or_1 heads_or_1 width width"],
    dropout: float = 0.0,
) -> Float[Tensor, "users heads width d"]:
    """``dropout(softmax(q k^T / sqrt(d) + added)) v``; gradients of gradients are refused.

    Args:
        qkv: Queries, keys and values.
        added: Added to the scores, ``[query, key]``; -inf hides a key. Some key of every query is in sight.
        dropout: On the probabilities.
    """
    out: Tensor = _Attend.apply(qkv, added, dropout)  # type: ignore[no-untyped-call]
    return out


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, added: Tensor, drop: float) -> Tensor:
        _, users, heads, width, d = qkv.shape
        flat = qkv.reshape(3, users * heads, width, d)
        q, k, v = flat
        scores = qkv.new_empty(users, heads, width, width).copy_(added).view(-1, width, width)
        with torch.autocast(qkv.device.type, enabled=False):
            scores.baddbmm_(q, k.mT, alpha=1 / math.sqrt(d))
            p = torch.softmax(scores, dim=-1)
            mask = keep_mask(p, drop) if drop else None
            out = torch.bmm(p if mask is None else p * mask, v)
        ctx.save_for_backward(flat, p, mask)
        ctx.shapes = qkv.shape, added.shape, added.dtype
        return out.view(users, heads, width, d)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None]:
        flat, p, mask = ctx.saved_tensors
        shape, added_shape, added_dtype = ctx.shapes
        q, k, v = flat
        grad = grads[0].reshape(v.shape)
        out = torch.empty_like(flat)
        torch.bmm((p if mask is None else p * mask).mT, grad, out=out[2])
        grad_p = torch.bmm(grad, v.mT)
        if mask is not None:
            grad_p *= mask
        grad_scores = torch._softmax_backward_data(grad_p, p, -1, p.dtype)
        torch.bmm(grad_scores, k, out=out[0])
        torch.bmm(grad_scores.mT, q, out=out[1])
        out[:2].mul_(1 / math.sqrt(shape[-1]))
        grad_added = None
        if ctx.needs_input_grad[1]:
            grad_added = grad_scores.view(*shape[1:4], shape[3]).sum_to_size(added_shape).to(added_dtype)
        return out.view(shape), grad_added, None
