"""Ragged rows <-> rectangles: users of similar length share a rectangle, so little is wasted on padding.

In the types of this package ``borders`` is the number of users plus one: the length of ``offsets``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int64, Shaped
from torch import Tensor


@dataclass(frozen=True)
class Rectangle:
    """``n`` users padded on the right to ``width``; rows ``start`` to ``start + n * width`` of the padded buffer."""

    start: int
    n: int
    width: int
    lengths: Int64[Tensor, " users"]

    @property
    def stop(self) -> int:
        """Row after the last one."""
        return self.start + self.n * self.width


@dataclass(frozen=True)
class Layout:
    """Where each event of a batch lies in the padded buffer; made once per batch and shared by all layers."""

    slot: Int64[Tensor, " events"]
    rectangles: tuple[Rectangle, ...]

    @staticmethod
    def of(offsets: Int64[Tensor, " borders"]) -> Layout:
        """Group users by length into powers of two; a rectangle is as wide as its longest user."""
        lengths = offsets.diff()
        # 1-2, 3-4, 5-8, ...: at most half of a rectangle is padding.
        group = torch.ceil(torch.log2(lengths.clamp(min=2).double())).long()
        group[lengths == 0] = 0
        first = torch.zeros_like(lengths)
        rectangles, start = [], 0
        for number in torch.unique(group[lengths > 0]).tolist():
            users = torch.nonzero(group == number).squeeze(1)
            width = int(lengths[users].max())
            first[users] = start + width * torch.arange(len(users), device=offsets.device)
            rectangles.append(Rectangle(start, len(users), width, lengths[users]))
            start = rectangles[-1].stop
        n_events = int(offsets[-1])
        users = torch.arange(len(lengths), device=offsets.device)
        owner = torch.repeat_interleave(users, lengths, output_size=n_events)
        slot = first[owner] + torch.arange(n_events, device=offsets.device) - offsets[:-1][owner]
        return Layout(slot, tuple(rectangles))

    @property
    def n_slots(self) -> int:
        """Rows of the padded buffer."""
        return self.rectangles[-1].stop if self.rectangles else 0

    def pad(self, x: Shaped[Tensor, "events d"]) -> Shaped[Tensor, "slots d"]:
        """Events -> padded buffer, zeros in the gaps."""
        out: Tensor = _Pad.apply(x, self.slot, self.n_slots)  # type: ignore[no-untyped-call]
        return out

    def unpad(self, x: Shaped[Tensor, "slots d"]) -> Shaped[Tensor, "events d"]:
        """Padded buffer -> events."""
        return take_once(x, self.slot)


def take_once(x: Shaped[Tensor, "rows d"], index: Int64[Tensor, " n"]) -> Shaped[Tensor, "n d"]:
    """``x[index]`` where no row is taken twice; its gradient is one copy."""
    out: Tensor = _Unpad.apply(x, index)  # type: ignore[no-untyped-call]
    return out


# The slots are unique, so the gradient of one copy is the other. Autograd does not know that and would add
# row by row with atomics, which is slower and, on CUDA, not deterministic.
class _Pad(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slot: Tensor, n_slots: int) -> Tensor:
        ctx.save_for_backward(slot)
        return x.new_zeros(n_slots, *x.shape[1:]).index_copy_(0, slot, x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (slot,) = ctx.saved_tensors
        return grads[0].index_select(0, slot), None, None


class _Unpad(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slot: Tensor) -> Tensor:
        ctx.save_for_backward(slot)
        ctx.n_slots = len(x)
        return x.index_select(0, slot)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (slot,) = ctx.saved_tensors
        return grads[0].new_zeros(ctx.n_slots, *grads[0].shape[1:]).index_copy_(0, slot, grads[0]), None
