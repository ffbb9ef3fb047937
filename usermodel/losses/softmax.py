"""Softmax cross-entropy over the whole catalogue, in chunks that stay in cache.

The logits of a batch (1,536 x 12,101 floats are 74 MB) are never in memory at once: each chunk of rows forms its logits,
its loss and its gradients in one pass. The result is exact.

A chunk is laid out classes x rows, because on a CPU both ``items @ chunk.T`` and its transpose are then products of a tall
matrix with a narrow one, which run faster than the wide ones of rows x classes. The exponentials replace the logits where
they lie, and are never divided by their sum: the rows of the two small factors are. They are powers of two, because the
items were multiplied by log2(e) once: PyTorch's exp2 is faster than its exp (``make bench-pieces``). The largest logit is
looked for and taken off only where it could overflow. ``make bench-loss`` times this beside rows x classes and beside plain
PyTorch: benchmarks/results/catalogue-loss.json.
"""

from __future__ import annotations

import math
from typing import Any, Final

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from usermodel.losses.precision import product_dtype

#: Rows per chunk of float32 on a CPU: 256 x 12,101 logits are 12 MiB, which the L3 cache holds. Of bfloat16, twice as many.
CHUNK_ROWS = 256
#: Rows of bfloat16 come in multiples of this: for each new shape, oneDNN compiles a kernel.
ALIGN: Final = 32
#: Logits per chunk at most, so that a chunk is at most 128 MiB of fp32, whatever the catalogue.
CHUNK_LOGITS = 1 << 25
#: Bound of a binary logit below which nothing is taken off: 2^64 times the largest catalogue is far from overflow, and
#: 2^-64 far from underflow, in float32 and bfloat16.
SAFE_EXPONENT: Final = 64.0
#: See `column_sums`.
GROUPS: Final = 64
#: Logits are binary: a natural one is multiplied by this.
LOG2_E: Final = 1 / math.log(2)


def full_softmax(
    events: Float[Tensor, "targets dim"],
    items: Float[Tensor, "classes dim"],
    target: Int64[Tensor, " targets"],
) -> Float[Tensor, ""]:
    """Mean of ``-log softmax(events @ items.T)[target]``.

    Under `torch.autocast` in bfloat16, or `usermodel.losses.precision.products_in` of it, the matrix products and the
    exponentials are in that type; sums over classes, rows and chunks are fp32 at least. The loss of a target that is all but
    certain is then off by the rounding of its logit, and can be a little below 0. Gradients of gradients are refused.

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


class _FullSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, events: Tensor, items: Tensor, target: Tensor, dtype: torch.dtype, graph: bool
    ) -> Tensor:
        # needs_input_grad is true of a parameter even where no graph is recorded.
        need_events, need_items = (graph and need for need in ctx.needs_input_grad[:2])
        rows, classes = len(events), len(items)
        wide = torch.promote_types(events.dtype, torch.float32)
        # Logits are binary from here on: multiplied by log2(e).
        h, w = aligned(events.to(dtype)), (items * LOG2_E).to(dtype)
        shift = not is_safe(events, items)
        grad_events = torch.empty_like(h, dtype=wide) if need_events else None
        grad_items = torch.zeros_like(items, dtype=wide) if need_items else None
        total = torch.zeros((), dtype=wide, device=events.device)
        step = rows_of_chunk(rows, classes, h)
        # One buffer for all chunks: fresh memory would be paid for page by page.
        buffer = h.new_empty(classes * min(step, len(h)))
        with torch.autocast(events.device.type, enabled=False):
            for start in range(0, rows, step):
                part = slice(start, start + step)
                chunk, wanted = h[part], target[None, part]
                p = buffer[: classes * len(chunk)].view(classes, -1)
                torch.mm(w, chunk.T, out=p)
                if shift:
                    p.sub_(p.amax(0))
                logit = p.gather(0, wanted)[0].to(wide)
                p.exp2_()
                normaliser = column_sums(p, wide)
                # -log2 p of the target as lse - logit, so that a vanishing probability is not log(0).
                total += (normaliser[: len(logit)].log2() - logit).sum()
                if not graph:
                    continue
                # p holds normaliser x probability.
                if grad_events is not None:
                    # w holds the factor log2(e), which the gradient does not.
                    torch.div((p.T @ w).to(wide), normaliser[:, None] * LOG2_E, out=grad_events[part])
                if grad_items is not None:
                    add_product(grad_items, p, (chunk.to(wide) / normaliser[:, None]).to(dtype))
        # The -1 at the target, which the probabilities above lack.
        if grad_events is not None:
            grad_events = grad_events[:rows].sub_(items.detach()[target])
        if grad_items is not None:
            grad_items.index_add_(0, target, events.detach().to(wide), alpha=-1)
        ctx.save_for_backward(grad_events, grad_items)
        scale = 1.0 / max(rows, 1)
        ctx.scale, ctx.types = scale, (events.dtype, items.dtype)
        return total * (scale / LOG2_E)

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


def aligned(rows: Tensor) -> Tensor:
    """Followed by zeros up to a multiple of `ALIGN`, where that saves compiling."""
    missing = -len(rows) % ALIGN if rows.dtype == torch.bfloat16 and rows.device.type == "cpu" else 0
    return pad(rows, (0, 0, 0, missing)) if missing else rows


def is_safe(events: Tensor, items: Tensor) -> bool:
    """Whether no binary logit can exceed `SAFE_EXPONENT` (Cauchy-Schwarz); False where looking would stop a queue."""
    if events.device.type != "cpu" or not len(events) or not len(items):
        return False
    longest = [torch.linalg.vector_norm(rows.detach(), dim=1).amax() for rows in (events, items)]
    return float(longest[0] * longest[1]) * LOG2_E < SAFE_EXPONENT


def column_sums(p: Tensor, wide: torch.dtype) -> Tensor:
    """Sum over the classes.

    PyTorch copies a bfloat16 matrix into floats to sum it as such. Sums of 64 groups, each accumulated in float32 and rounded
    to bfloat16 at its end, take a third of the time; their rounding errors are independent and small beside those of ``p``.
    """
    if p.dtype == wide or len(p) < GROUPS:
        return p.sum(0, dtype=wide)
    most = len(p) // GROUPS * GROUPS
    sums = p[:most].view(GROUPS, -1, p.shape[1]).sum(1).sum(0, dtype=wide)
    return sums + p[most:].sum(0, dtype=wide)


def add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """``total += a @ b``, without a copy of the product where the types allow."""
    if total.dtype == a.dtype:
        total.addmm_(a, b)
    else:
        total += a @ b


def rows_of_chunk(rows: int, classes: int, like: Tensor) -> int:
    """Rows per chunk. Caches decide on a CPU; elsewhere small products waste the device, so only memory does."""
    cached = CHUNK_ROWS * 4 // like.element_size() if like.device.type == "cpu" else rows
    return max(1, min(cached, CHUNK_LOGITS // max(classes, 1)))
