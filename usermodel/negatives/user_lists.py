"""A list of different items for each user, in buffers: is an item in it, and draws from it mixed with uniform ones."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, Integer
from numpy import ndarray
from torch import Tensor, nn

from usermodel.negatives.protocol import Negatives


class UserLists(nn.Module):
    """Lists of item indices, each in rising order, at fixed places in one table.

    Attributes:
        items: ``[stored]``, int32; a number at least, so that looking is always possible.
        start: Place of each user's first item, ``[users]``.
        count: Items of each user, ``[users]``.
        longest: No list has more items, now or later.

    Args:
        persistent: Whether the lists are learned, and checkpoints hold them; not where store and split decide.
    """

    def __init__(
        self,
        items: Integer[ndarray, " stored"],
        start: Integer[ndarray, " users"],
        count: Integer[ndarray, " users"],
        longest: int,
        *,
        persistent: bool = False,
    ) -> None:
        super().__init__()
        self.longest = longest
        filled = items if len(items) else np.zeros(1)
        self.register_buffer("items", torch.from_numpy(filled.astype(np.int32)), persistent)
        self.register_buffer("start", torch.from_numpy(start.astype(np.int64)), persistent)
        self.register_buffer("count", torch.from_numpy(count.astype(np.int64)), persistent)
        self.items: Tensor
        self.start: Tensor
        self.count: Tensor

    @classmethod
    def of(cls, user: Integer[ndarray, " n"], item: Integer[ndarray, " n"], n_users: int) -> Self:
        """The different items of each user; pairs may repeat."""
        width = int(item.max(initial=0)) + 1
        key = np.unique(user.astype(np.int64) * width + item)
        count = np.bincount(key // width, minlength=n_users)
        return cls(key % width, np.cumsum(count) - count, count, int(count.max(initial=0)))

    @classmethod
    def empty(cls, n_users: int, size: int) -> Self:
        """Room for ``size`` items a user, and none in it."""
        start = np.arange(n_users) * size
        return cls(np.zeros(n_users * size), start, np.zeros(n_users), size, persistent=True)

    def contains(
        self, user: Int64[Tensor, " events"], ids: Int64[Tensor, "events n"]
    ) -> Bool[Tensor, "events n"]:
        """Whether each item is in the list of its event's user: a binary search, ``log2(longest)`` steps for all at once."""
        low = self.start[user][:, None].expand_as(ids)
        high = low + self.count[user][:, None]
        last = len(self.items) - 1
        for _ in range(self.longest.bit_length()):
            middle = (low + high) // 2
            less = (low < high) & (self.items[middle.clamp(max=last)] < ids)
            low, high = torch.where(less, middle + 1, low), torch.where(less, high, middle)
        end = (self.start + self.count)[user][:, None]
        return (low < end) & (self.items[low.clamp(max=last)] == ids)

    def among(self, user: Int64[Tensor, " events"], n_items: int) -> Bool[Tensor, "events n_items"]:
        """Which of all items, 1 to ``n_items``, are in the list of each event's user."""
        place = torch.arange(self.longest, device=user.device)
        inside = place < self.count[user][:, None]
        items = self.items[(self.start[user][:, None] + place).clamp(max=len(self.items) - 1)].long()
        found = torch.zeros(len(user), n_items + 1, dtype=torch.bool, device=user.device)
        # Places behind the end of a list go to column 0, which no item has.
        return found.scatter_(1, torch.where(inside, items, 0), value=True)[:, 1:]

    def mixed(
        self,
        user: Int64[Tensor, " events"],
        n: int,
        *,
        n_items: int,
        uniform: float,
        generator: torch.Generator | None,
        log_q: bool,
    ) -> Negatives:
        """``q(i) = u/N + (1 - u) [i in list]/length``, with u = ``uniform``, or 1 where the list is empty.

        Args:
            user: Whose list, for each event.
            n: Draws an event.
            n_items: N.
            uniform: Share of draws from the whole catalogue.
            generator: See `NegativeSampler.sample`.
            log_q: Whether to look the draws up in the lists for their probabilities.
        """
        shape, device = (len(user), n), user.device
        count = self.count[user][:, None]
        # float64: with 24 bits some places of a long list would be likelier than others.
        place, part = torch.rand((2, *shape), generator=generator, device=device, dtype=torch.float64)
        place = torch.minimum((place * count).long(), (count - 1).clamp(min=0))
        listed = self.items[(self.start[user][:, None] + place).clamp(max=len(self.items) - 1)].long()
        anywhere = torch.randint(1, n_items + 1, shape, generator=generator, device=device)
        ids = torch.where((part >= uniform) & (count > 0), listed, anywhere)
        if not log_q:
            return Negatives(ids, None)
        return Negatives(ids, self._log_q(user, ids, n_items, uniform))

    def _log_q(
        self, user: Int64[Tensor, " events"], ids: Int64[Tensor, "events n"], n_items: int, uniform: float
    ) -> Float[Tensor, "events n"]:
        count = self.count[user][:, None].double()
        share = torch.where(count > 0, 1.0 - uniform, 0.0)
        inside = self.contains(user, ids).double() / count.clamp(min=1.0)
        return ((1.0 - share) / n_items + share * inside).log().float()
