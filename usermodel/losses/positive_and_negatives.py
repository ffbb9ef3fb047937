"""One positive and n negatives a row: their scores, and the gradient of a loss of the scores, in chunks of rows.

Negatives that all rows share are one matrix, so that their scores are one product and their gradient another. Negatives
of a row's own are gathered, ``dim`` numbers a score, which is why the chunks are smaller then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from usermodel.losses.precision import product_dtype
from usermodel.losses.softmax import CHUNK_LOGITS

#: Numbers per chunk on a CPU: 4 MiB of fp32. Elsewhere only memory decides.
CHUNK_NUMBERS = 1 << 20

#: (positive ``[rows]``, negative ``[rows, n]``, extra ``[rows or 1, n]``, hit ``[rows, n]``) -> sum of the loss over rows, and
#: its derivatives with respect to the two kinds of scores. ``hit`` is true where a negative is the row's own positive.
Rule = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


def mean_over_rows(
    rule: Rule, events: Tensor, items: Tensor, target: Tensor, ids: Tensor, extra: Tensor
) -> Tensor:
    """Mean of a rule over rows; gradients reach ``events`` and ``items``.

    Args:
        rule: The loss.
        events: One vector per row.
        items: One vector per class.
        target: Class of each row's positive.
        ids: Classes of the negatives, ``[n]`` for all rows or ``[rows, n]``.
        extra: A constant per negative, same shape as ``ids``.
    """
    graph = torch.is_grad_enabled()
    loss: Tensor = _Rows.apply(events, items, target, ids, extra, rule, graph)  # type: ignore[no-untyped-call]
    return loss


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        events: Tensor,
        items: Tensor,
        target: Tensor,
        ids: Tensor,
        extra: Tensor,
        rule: Rule,
        graph: bool,
    ) -> Tensor:
        dtype = product_dtype(events)
        wide = torch.promote_types(events.dtype, torch.float32)
        h, w, shared = events.to(dtype), items.to(dtype), ids.dim() == 1
        grad_events, grad_items = torch.zeros_like(events, dtype=wide), torch.zeros_like(items, dtype=wide)
        total = torch.zeros((), dtype=wide, device=events.device)
        common = w[ids] if shared else w[:0]
        grad_common = torch.zeros_like(common, dtype=wide)
        step = _chunk(ids, events)
        with torch.autocast(events.device.type, enabled=False):
            for start in range(0, len(h), step):
                part = slice(start, start + step)
                chunk, wanted, positive = h[part], target[part], w[target[part]]
                own = ids[None] if shared else ids[part]
                vectors = common if shared else w[own]
                scores = chunk @ common.T if shared else torch.bmm(vectors, chunk[:, :, None])[..., 0]
                score = (chunk.to(wide) * positive.to(wide)).sum(1)
                rest = extra[None] if shared else extra[part]
                loss, slope, slopes = rule(score, scores.to(wide), rest.to(wide), own == wanted[:, None])
                total += loss
                if not graph:
                    continue
                slopes = slopes.to(dtype)
                pull = slopes @ common if shared else torch.bmm(slopes[:, None], vectors)[:, 0]
                grad_events[part] = slope[:, None] * positive.to(wide) + pull.to(wide)
                grad_items.index_add_(0, wanted, slope[:, None] * chunk.to(wide))
                if shared:
                    grad_common += slopes.T @ chunk
                else:
                    push = slopes[:, :, None] * chunk[:, None]
                    grad_items.index_add_(0, own.flatten(), push.flatten(0, 1).to(wide))
        if shared and graph:
            grad_items.index_add_(0, ids, grad_common)
        ctx.save_for_backward(grad_events, grad_items)
        ctx.scale, ctx.types = 1.0 / max(len(h), 1), (events.dtype, items.dtype)
        mean: Tensor = total * ctx.scale
        return mean

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        factor = grads[0] * ctx.scale
        pairs = zip(ctx.saved_tensors, ctx.types, strict=True)
        return (*((grad * factor).to(dtype) for grad, dtype in pairs), *[None] * 5)


def _chunk(ids: Tensor, events: Tensor) -> int:
    """Rows per chunk."""
    budget = CHUNK_NUMBERS if events.device.type == "cpu" else CHUNK_LOGITS
    numbers = ids.shape[-1] * (1 if ids.dim() == 1 else events.shape[1])
    return max(1, budget // max(numbers, 1))
