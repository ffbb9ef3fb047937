"""Ragged rows <-> rectangles: users of similar length share a rectangle, so little is wasted on padding.

In the types of this package ``borders`` is the number of users plus one: the length of ``offsets``.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

#: What a further rectangle costs, in pairs of events: some forty small operations a layer, forward and backward. On a processor
#: of the order that was measured (``rectangles`` in benchmarks/results/pieces.json); for a GPU a guess, until there is one.
RECTANGLE_COST: Final = {"cpu": 20_000, "cuda": 2_000_000}


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
        """Group users by length into powers of two, and neighbouring groups together where that costs less than a rectangle.

        A rectangle is as wide as its longest user.
        """
        lengths = offsets.diff()
        group_of_length, widths = _groups(lengths)
        first = torch.zeros_like(lengths)
        owner_group = group_of_length[lengths]
        rectangles, start = [], 0
        for number, width in enumerate(widths):
            users = torch.nonzero(owner_group == number).squeeze(1)
            first[users] = start + width * torch.arange(len(users), device=offsets.device)
            rectangles.append(Rectangle(start, len(users), width, lengths[users]))
            start = rectangles[-1].stop
        n_events = int(offsets[-1])
        users = torch.arange(len(lengths), device=offsets.device)
        owner = torch.repeat_interleave(users, lengths, output_size=n_events)
        slot = first[owner] + torch.arange(n_events, device=offsets.device) - offsets[:-1][owner]
        return Layout(slot, tuple(rectangles))

    @staticmethod
    def in_order(lengths: Int64[Tensor, " users"]) -> Layout:
        """For users who stand in order of length: a rectangle for each length, so that events and slots are the same.

        Where nothing is kept for a gradient a rectangle costs little.
        """
        rectangles, user, start = [], 0, 0
        found, counts = torch.unique_consecutive(lengths, return_counts=True)
        for length, n in zip(found.tolist(), counts.tolist(), strict=True):
            if length:
                rectangles.append(Rectangle(start, n, length, lengths[user : user + n]))
                start = rectangles[-1].stop
            user += n
        return Layout(torch.arange(start, device=lengths.device), tuple(rectangles))

    def last(self, x: Shaped[Tensor, "events d"]) -> Shaped[Tensor, "filled d"]:
        """The last event of each user who has one, in a layout made by `in_order`."""
        return torch.cat(
            [x[one.start : one.stop].view(one.n, one.width, -1)[:, -1] for one in self.rectangles]
        )

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


def _groups(lengths: Int64[Tensor, " users"]) -> tuple[Int64[Tensor, " sizes"], list[int]]:
    """Rectangle of each length (-1 for none), and the width of each rectangle."""
    cost = RECTANGLE_COST.get(lengths.device.type, RECTANGLE_COST["cuda"])
    counts = torch.bincount(lengths, minlength=1).tolist()
    present = [length for length, count in enumerate(counts) if count and length]
    # 1-2, 3-4, 5-8, ...: at most half of a group's rectangle is padding.
    classes = {max((length - 1).bit_length(), 1) for length in present}
    widest = [max(n for n in present if max((n - 1).bit_length(), 1) == one) for one in sorted(classes)]
    users = [sum(counts[low + 1 : high + 1]) for low, high in pairwise([0, *widest])]
    # best[j]: least cost of the first j groups, and where their last rectangle begins.
    best: list[tuple[float, int]] = [(0.0, 0)]
    for stop in range(1, len(widest) + 1):
        width = widest[stop - 1]
        best.append(
            min(
                (best[begin][0] + cost + sum(users[begin:stop]) * width * width, begin)
                for begin in range(stop)
            )
        )
    borders, stop = [], len(widest)
    while stop:
        borders.append(widest[stop - 1])
        stop = best[stop][1]
    borders.reverse()
    group, number = [-1] * len(counts), 0
    for length in range(1, len(counts)):
        number += length > borders[number]
        group[length] = number
    return torch.tensor(group, device=lengths.device), borders


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
