"""Softmax cross-entropy over the whole catalogue, in chunks that stay in cache.

The logits of a batch (1,536 x 12,101 floats are 74 MB) are never in memory at once: each chunk of rows forms its logits,
its loss and its gradients in one pass. The result is exact.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.autograd.function import once_differentiable

#: Rows per chunk: 64 x 12,101 logits in bf16 fit the L2 cache of two cores.
CHUNK_ROWS = 64
#: Logits per chunk at most, so that a chunk is at most 128 MiB of fp32, whatever the catalogue.
CHUNK_LOGITS = 1 << 25


def full_softmax(
    events: Float[Tensor, "targets dim"],
    items: Float[Tensor, "classes dim"],
    target: Int64[Tensor, " targets"],
) -> Float[Tensor, ""]:
    """Mean of ``-log softmax(events @ items.T)[target]``.

    Under `torch.autocast` the matrix products and the probabilities are in the autocast type; sums over rows and chunks
    are fp32 at least. Gradients of gradients are refused.

    Args:
        events: One vector per target.
        items: One vector per class.
        target: Class of each row, 0 to classes - 1.

    Returns:
        The mean over rows; 0 with zero gradient when there is no row.
    """
    kind = events.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else events.dtype
    arguments = (events, items, target, dtype, torch.is_grad_enabled())
    loss: Tensor = _FullSoftmax.apply(*arguments)  # type: ignore[no-untyped-call]
    return loss


class _FullSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, events: Tensor, items: Tensor, target: Tensor, dtype: torch.dtype, graph: bool
    ) -> Tensor:
        # needs_input_grad is true of a parameter even where no graph is recorded.
        need_events, need_items = (graph and need for need in ctx.needs_input_grad[:2])
        rows = len(events)
        h, w = events.to(dtype), items.to(dtype)
        wide = torch.promote_types(events.dtype, torch.float32)
        grad_events = torch.empty_like(events, dtype=wide) if need_events else None
        grad_items = torch.zeros_like(items, dtype=wide) if need_items else None
        total = torch.zeros((), dtype=wide, device=events.device)
        step = _chunk(rows, len(items), events.device)
        with torch.autocast(events.device.type, enabled=False):
            for start in range(0, rows, step):
                part = slice(start, start + step)
                chunk, wanted = h[part], target[part][:, None]
                logits = chunk @ w.T
                # -log p of the target as lse - logit, so that a vanishing probability is not log(0).
                p = torch.softmax(logits, dim=1)
                lse = logits.amax(1, keepdim=True).to(wide) - torch.log(p.amax(1, keepdim=True).to(wide))
                total += (lse - logits.gather(1, wanted).to(wide)).sum()
                if graph:
                    p.scatter_add_(1, wanted, p.new_full((len(p), 1), -1.0))
                if grad_events is not None:
                    grad_events[part] = p @ w
                if grad_items is not None:
                    grad_items += p.T @ chunk
        ctx.save_for_backward(grad_events, grad_items)
        scale = 1.0 / max(rows, 1)
        ctx.scale, ctx.types = scale, (events.dtype, items.dtype)
        return total * scale

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        factor = grads[0] * ctx.scale
        pairs = zip(ctx.saved_tensors, ctx.types, strict=True)
        return (
            *(None if grad is None else (grad * factor).to(dtype) for grad, dtype in pairs),
            None,
            None,
            None,
        )


def _chunk(rows: int, classes: int, device: torch.device) -> int:
    """Rows per chunk. Caches decide on a CPU; elsewhere small products waste the device, so only memory does."""
    cached = CHUNK_ROWS if device.type == "cpu" else rows
    return max(1, min(cached, CHUNK_LOGITS // max(classes, 1)))
