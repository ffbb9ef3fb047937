"""Softmax cross-entropy over the whole catalogue, in chunks that stay in cache.

The logits of a batch (1,536 x 12,101 floats are 74 MB) are never in memory at once: each chunk of rows forms its logits,
its loss and its gradients in one pass. The result is exact.

A chunk is laid out classes x rows, because on a CPU both ``items @ chunk.T`` and its transpose are then products of a tall
matrix with a narrow one, which run faster than the wide ones of rows x classes. The exponentials replace the logits where
they lie, and are never divided by their sum: the rows of the two small factors are. ``make bench-loss`` times this beside
rows x classes and beside plain PyTorch: benchmarks/results/catalogue-loss.json.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.autograd.function import once_differentiable

#: Rows per chunk on a CPU: 128 x 12,101 logits are 6 MiB of fp32, which the L3 cache holds.
CHUNK_ROWS = 128
#: Logits per chunk at most, so that a chunk is at most 128 MiB of fp32, whatever the catalogue.
CHUNK_LOGITS = 1 << 25


def full_softmax(
    events: Float[Tensor, "targets dim"],
    items: Float[Tensor, "classes dim"],
    target: Int64[Tensor, " targets"],
) -> Float[Tensor, ""]:
    """Mean of ``-log softmax(events @ items.T)[target]``.

    Under `torch.autocast` in bfloat16 the matrix products and the exponentials are in that type; sums over classes, rows
    and chunks are fp32 at least. Gradients of gradients are refused.

    Args:
        events: One vector per target.
        items: One vector per class.
        target: Class of each row, 0 to classes - 1.

    Returns:
        The mean over rows; 0 with zero gradient when there is no row.
    """
    arguments = (events, items, target, product_dtype(events), torch.is_grad_enabled())
    loss: Tensor = _FullSoftmax.apply(*arguments)  # type: ignore[no-untyped-call]
    return loss


def product_dtype(events: Tensor) -> torch.dtype:
    """Type of the matrix products: that of autocast, but never float16, whose range is too small for sums of a catalogue."""
    kind = events.device.type
    if not torch.is_autocast_enabled(kind):
        return events.dtype
    dtype = torch.get_autocast_dtype(kind)
    return torch.float32 if dtype == torch.float16 else dtype


class _FullSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, events: Tensor, items: Tensor, target: Tensor, dtype: torch.dtype, graph: bool
    ) -> Tensor:
        # needs_input_grad is true of a parameter even where no graph is recorded.
        need_events, need_items = (graph and need for need in ctx.needs_input_grad[:2])
        rows, classes = len(events), len(items)
        h, w = events.to(dtype), items.to(dtype)
        wide = torch.promote_types(events.dtype, torch.float32)
        grad_events = torch.empty_like(events, dtype=wide) if need_events else None
        grad_items = torch.zeros_like(items, dtype=wide) if need_items else None
        total = torch.zeros((), dtype=wide, device=events.device)
        step = _chunk(rows, classes, events.device)
        # One buffer for all chunks: fresh memory would be paid for page by page.
        buffer = h.new_empty(classes * min(step, rows))
        with torch.autocast(events.device.type, enabled=False):
            for start in range(0, rows, step):
                part = slice(start, start + step)
                chunk, wanted = h[part], target[None, part]
                p = buffer[: classes * len(chunk)].view(classes, -1)
                torch.mm(w, chunk.T, out=p)
                logit, largest = p.gather(0, wanted)[0].to(wide), p.amax(0)
                p.sub_(largest).exp_()
                normaliser = p.sum(0, dtype=wide)
                # -log p of the target as lse - logit, so that a vanishing probability is not log(0).
                total += (normaliser.log() + largest.to(wide) - logit).sum()
                if not graph:
                    continue
                # From here on p holds normaliser x (probability - 1 at the target).
                p.scatter_add_(0, wanted, -normaliser[None].to(dtype))
                if grad_events is not None:
                    grad_events[part] = (p.T @ w).to(wide) / normaliser[:, None]
                if grad_items is not None:
                    _add_product(grad_items, p, (chunk.to(wide) / normaliser[:, None]).to(dtype))
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


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """``total += a @ b``, without a copy of the product where the types allow."""
    if total.dtype == a.dtype:
        total.addmm_(a, b)
    else:
        total += a @ b


def _chunk(rows: int, classes: int, device: torch.device) -> int:
    """Rows per chunk. Caches decide on a CPU; elsewhere small products waste the device, so only memory does."""
    cached = CHUNK_ROWS if device.type == "cpu" else rows
    return max(1, min(cached, CHUNK_LOGITS // max(classes, 1)))
