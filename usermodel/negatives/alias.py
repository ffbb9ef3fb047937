"""Draws from a fixed table of weights, at the cost of one look into memory each: the alias method.

Source: Walker 1977; Vose 1991. Every item has a slot of equal mass; what an item's own mass leaves free of its slot is filled
by one other item, its alias. The tables are built without a loop: lights and heavies are paired by running sums, which is the
sequential sweep of Huebschle-Schneider & Sanders 2019 in closed form.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from jaxtyping import Float64, Int64, Shaped
from numpy import ndarray
from torch import Tensor, nn

#: Draws at once on a processor: what they pass through stays in the cache of a core. Up to this size torch starts no further
#: thread: the steps are so short that threads which wait for each other on a busy machine cost far more than they save.
_CHUNK: Final = 1 << 15
_LOWER: Final = (1 << 32) - 1


class AliasTable(nn.Module):
    """Draws items 1 to n with probabilities proportional to their weights.

    One draw takes 64 random bits: the upper half chooses the slot by multiplication and shift, the lower half is compared with
    the mass of the slot's own item. So no probability is off by more than about 2^-32: an item's slot by 2^-32 at most, its
    mass in the slot by 2^-32 of the slot.

    Args:
        weight: Of each item, entry 0 is item 1; not negative, and one of them positive.
    """

    rows: Tensor

    def __init__(self, weight: Float64[ndarray, " items"]) -> None:
        super().__init__()
        self.n_items = len(weight)
        accept, alias = alias_table(weight)
        item = np.arange(1, self.n_items + 1)
        # One row of 64 bits for both, so that a draw misses the cache once: in the upper half how far the alias is away, in the
        # lower one the last fraction of the slot that is the item's own. Row 0 is padding.
        border = np.clip(np.round(accept * 2.0**32) - 1, 0, 2.0**32 - 1).astype(np.int64)
        rows = np.zeros(self.n_items + 1, dtype=np.int64)
        rows[1:] = ((alias + 1 - item) << 32) | border
        self.register_buffer("rows", torch.from_numpy(rows), persistent=False)

    def draw(self, shape: tuple[int, ...], generator: torch.Generator | None) -> Int64[Tensor, "*shape"]:
        """Independent draws, on the device of the table."""
        ids = torch.empty(shape, dtype=torch.int64, device=self.rows.device)
        n = max(ids.numel(), 1)
        step = min(n, _CHUNK) if ids.device.type == "cpu" else n
        work = torch.empty((2, step), dtype=torch.int64, device=ids.device)
        words = _Words(ids.device, generator)
        # floor((word + 2^31) n / 2^32) + 1 for a signed word, without overflow below 2^32 items.
        first = torch.full((), self.n_items * 2**31 + 2**32, device=ids.device)
        for part in torch.split(ids.view(-1), step):
            word, (row, alias) = words.next(len(part)), work[:, : len(part)]
            torch.bitwise_right_shift(word, 32, out=part)
            torch.add(first, part, alpha=self.n_items, out=part).bitwise_right_shift_(32)
            torch.index_select(self.rows, 0, part, out=row)
            # All bits set where the fraction is beyond the border. Masks cost less than `torch.where`.
            torch.bitwise_and(row, _LOWER, out=alias).sub_(word.bitwise_and_(_LOWER)).bitwise_right_shift_(63)
            part.add_(row.bitwise_right_shift_(32).bitwise_and_(alias))
        return ids


class _Words:
    """Random words of 64 bits, signed.

    On a processor they come from SFC64 (Doty-Humphrey 2013, in numpy), which is faster than torch's Mersenne twister; that one
    chooses the seed.
    """

    def __init__(self, device: torch.device, generator: torch.Generator | None) -> None:
        self.device, self.generator = device, generator
        if device.type == "cpu":
            self.source = np.random.SFC64(
                int(torch.empty((), dtype=torch.int64).random_(generator=generator))
            )

    def next(self, n: int) -> Int64[Tensor, " n"]:
        """The next ``n``, to be overwritten at will."""
        if self.device.type == "cpu":
            return torch.from_numpy(self.source.random_raw(n).view(np.int64))
        words = torch.empty(n, dtype=torch.int64, device=self.device)
        return words.random_(-(1 << 63), None, generator=self.generator)


def look_up(table: Shaped[Tensor, " rows"], index: Int64[Tensor, "*shape"]) -> Tensor:
    """``table[index]``, which is slower on a processor."""
    return table.index_select(0, index.flatten()).view(index.shape)


def alias_table(
    weight: Float64[ndarray, " items"],
) -> tuple[Float64[ndarray, " items"], Int64[ndarray, " items"]]:
    """For each slot the share of its own item, and the other item; positions from 0.

    A heavy item fills the lights in order until what is left of it is no more than a slot, and the next heavy fills up that.
    With running sums of what lights lack and of what heavies have too much, both are searches in sorted arrays.
    """
    mass = weight * (len(weight) / weight.sum())
    accept, alias = np.minimum(mass, 1.0), np.arange(len(mass))
    light, heavy = np.flatnonzero(mass < 1), np.flatnonzero(mass >= 1)
    if not len(light) or not len(heavy):  # all alike, up to rounding
        return accept, alias
    lack, excess = np.cumsum(1 - mass[light]), np.cumsum(mass[heavy] - 1)
    before = np.concatenate([[0.0], lack[:-1]])
    # Rounding may leave the last lights without a heavy: the last one takes them.
    alias[light] = heavy[np.minimum(np.searchsorted(excess, before, side="right"), len(heavy) - 1)]
    last = np.searchsorted(lack, excess)[:-1]
    accept[heavy[:-1]] = np.clip(1 + excess[:-1] - lack[np.minimum(last, len(light) - 1)], 0, 1)
    alias[heavy[:-1]] = heavy[1:]
    return accept, alias
