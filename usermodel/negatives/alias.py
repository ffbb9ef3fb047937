"""Draws from a fixed table of weights, at the cost of one look into memory each: the alias method.

Source: Walker 1977; Vose 1991. Every item has a slot of equal mass; what an item's own mass leaves free of its slot is filled
by one other item, its alias. The tables are built without a loop: lights and heavies are paired by running sums, which is the
sequential sweep of Huebschle-Schneider & Sanders 2019 in closed form.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64, Shaped
from numpy import ndarray
from torch import Tensor, nn

from usermodel.cores import on_cores

#: Draws of one thread, from one source of random words. Shorter steps make threads wait for each other more than they gain.
_BLOCK: Final = 1 << 17
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

    def draw(
        self,
        shape: tuple[int, ...],
        generator: torch.Generator | None,
        look: Float[Tensor, " rows"] | None = None,
    ) -> tuple[Int64[Tensor, "*shape"], Float[Tensor, "*shape"] | None]:
        """Independent draws, on the device of the table, and what a table of theirs has for each.

        Args:
            shape: Of the draws.
            generator: Chooses the seed; how many threads there are changes nothing.
            look: A number for each item, entry 0 is padding; None asks for none. Threads that draw can as well look.
        """
        device = self.rows.device
        if device.type != "cpu":
            words = torch.empty(shape, dtype=torch.int64, device=device)
            ids = self._choose(words.random_(-(1 << 63), None, generator=generator))
            return ids, None if look is None else look_up(look, ids)
        ids = torch.empty(shape, dtype=torch.int64)
        found = None if look is None else torch.empty(shape, dtype=look.dtype)
        seed = int(torch.empty((), dtype=torch.int64).random_(generator=generator))
        out, rows = ids.numpy().reshape(-1), self.rows.numpy()
        place = None if look is None or found is None else (look.numpy(), found.numpy().reshape(-1))

        def fill(start: int) -> None:
            part = slice(start, start + _BLOCK)
            drawn = out[part]
            _choose(_words(seed, start, len(drawn)), rows, drawn)
            if place is not None:
                np.take(place[0], drawn, out=place[1][part], mode="clip")

        starts = range(0, len(out), _BLOCK)
        if len(starts) > 1:
            on_cores(fill, starts)
        elif starts:
            fill(0)
        return ids, found

    def _choose(self, word: Int64[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
        """Items of random words; the same as the function below."""
        slot = ((word >> 32) * self.n_items + (self.n_items * 2**31 + 2**32)) >> 32
        row = look_up(self.rows, slot)
        # All bits set where the fraction is beyond the border.
        beyond = ((row & _LOWER) - (word & _LOWER)) >> 63
        return slot + ((row >> 32) & beyond)


def _choose(word: Int64[ndarray, " n"], rows: Int64[ndarray, " rows"], out: Int64[ndarray, " n"]) -> None:
    """Turn random words, which are overwritten, into items: by numpy, whose steps leave a core to other threads.

    Memory is what this costs: each step is in place.
    """
    n_items = len(rows) - 1
    # floor((word + 2^31) n / 2^32) + 1 for a signed word, without overflow below 2^32 items.
    np.right_shift(word, 32, out=out)
    out *= n_items
    out += n_items * 2**31 + 2**32
    out >>= 32
    # Nothing is outside; "clip" spares numpy a copy.
    row = np.take(rows, out, mode="clip")
    beyond = row & _LOWER
    word &= _LOWER
    beyond -= word
    beyond >>= 63
    row >>= 32
    row &= beyond
    out += row


def _words(seed: int, start: int, n: int) -> Int64[ndarray, " n"]:
    """Random words of 64 bits, signed, of the block of draws that begins at ``start``.

    SFC64 (Doty-Humphrey 2013, in numpy), which is faster than torch's Mersenne twister.
    """
    words: ndarray = np.random.SFC64([seed, start]).random_raw(n).view(np.int64)
    return words


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
    # What the lights lack together before each, and at the end. A heavy that has nothing too much fills none.
    ends = np.concatenate([[0.0], lack])
    # Rounding may leave the last lights without a heavy: the last one takes them.
    alias[light] = heavy[np.minimum(np.searchsorted(excess, ends[:-1], side="right"), len(heavy) - 1)]
    last = np.minimum(np.searchsorted(ends, excess[:-1]), len(light))
    accept[heavy[:-1]] = np.clip(1 + excess[:-1] - ends[last], 0, 1)
    alias[heavy[:-1]] = heavy[1:]
    return accept, alias
