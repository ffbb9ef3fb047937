"""Negatives that a user has never had: everything but the items of the user's own training history."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from jaxtyping import Float64, Int64
from numpy import ndarray
from pydantic import Field
from torch import Tensor

from usermodel.events.splits import Split
from usermodel.negatives.alias import look_up
from usermodel.negatives.protocol import DrawContext, Negatives, NegativeSampler, NegativesConfig
from usermodel.store.sequence_store import SequenceStore
from usermodel.store.training_events import training_events

#: Bits of the sum of all weights, unless the number of users needs them: weights are whole numbers, so that no sum is rounded.
_BITS: Final = 42


class UnseenConfig(NegativesConfig):
    """Items outside the user's own training history, drawn anew for each event.

    Attributes:
        alpha: Power of the training counts that the others are drawn by; 0 draws all alike. See `PopularityConfig`.
    """

    alpha: float = Field(default=0.0, ge=0)

    def build(self, store: SequenceStore, split: Split) -> Unseen:
        """Gather what each user has had in the training part."""
        user, item = training_events(store, split)
        counts = np.bincount(item, minlength=store.n_items + 1)[1:].astype(np.float64)
        user, item = np.divmod(np.unique(user * store.n_items + item - 1), store.n_items)
        return Unseen(user, item, store.n_users, counts, alpha=self.alpha)


class Unseen(NegativeSampler):
    """``q(item | user) = w(item) / sum of w over what the user has not had``, with ``w = max(count, 1)^alpha``.

    Nothing is drawn in vain: a draw is a point of the mass that is left, and a binary search counts the mass of the user's own
    items before it. ``w`` is rounded to whole numbers of about 42 bits in sum, of which ``log_q`` is exact; a point is a word of
    63 bits modulo that sum. A user who has had every item is drawn for from the whole catalogue.

    Args:
        user: User of each pair of a user and an item that the user has had, 0 to n_users - 1, rising.
        item: Position of the item, 0 to n_items - 1, rising for each user; no pair twice.
        n_users: Users of the store.
        counts: Training events of each item.
        alpha: Power.
    """

    start: Tensor
    before: Tensor
    seen_mass: Tensor
    left: Tensor
    until: Tensor
    log_weight: Tensor
    log_left: Tensor

    def __init__(
        self,
        user: Int64[ndarray, " pairs"],
        item: Int64[ndarray, " pairs"],
        n_users: int,
        counts: Float64[ndarray, " items"],
        *,
        alpha: float = 0.0,
    ) -> None:
        super().__init__()
        weight = _whole(np.maximum(counts, 1.0) ** alpha, n_users)
        has_all = np.bincount(user, minlength=n_users) == len(counts)
        user, item = user[~has_all[user]], item[~has_all[user]]
        start = np.concatenate([[0], np.cumsum(np.bincount(user, minlength=n_users))])
        until = np.cumsum(weight)
        # Mass of the pairs before each pair, over all users: differences are that of a user's first ones.
        seen_mass = np.concatenate([[0], np.cumsum(weight[item])])
        own_before = seen_mass[:-1] - seen_mass[start[user]]
        unseen_before = until[item] - weight[item] - own_before
        total = int(until[-1])
        left = total - (seen_mass[start[1:]] - seen_mass[start[:-1]])
        self.stride, self.all_alike = total + 1, total == len(counts)
        tables = {
            "start": start,
            # One rising array for all users, in which one search finds a user's place.
            "before": user * np.int64(self.stride) + unseen_before,
            "seen_mass": seen_mass,
            "left": left,
            "until": until,
            "log_weight": np.log(weight / total).astype(np.float32),
            "log_left": np.log(left / total).astype(np.float32),
        }
        for name, values in tables.items():
            self.register_buffer(name, torch.from_numpy(values), persistent=False)

    def sample(
        self,
        positives: Int64[Tensor, " events"],
        context: DrawContext,
        *,
        n: int,
        generator: torch.Generator | None = None,
        log_q: bool = True,
    ) -> Negatives:
        """See `NegativeSampler.sample`."""
        user = context.users()[:, None]
        point = torch.empty((len(positives), n), dtype=torch.int64, device=positives.device)
        point = point.random_(generator=generator).remainder_(self.left[user])
        place = torch.searchsorted(self.before, point + user * self.stride, right=True)
        point += look_up(self.seen_mass, place) - self.seen_mass[self.start[user]]
        index = point if self.all_alike else torch.searchsorted(self.until, point, right=True)
        chance = look_up(self.log_weight, index) - self.log_left[user] if log_q else None
        return Negatives(index + 1, chance)


def _whole(weight: Float64[ndarray, " items"], n_users: int) -> Int64[ndarray, " items"]:
    """Whole numbers in proportion, at least 1; ones where all are equal."""
    if weight.min() == weight.max():
        return np.ones(len(weight), dtype=np.int64)
    # A user's number and a point share 63 bits.
    bits = min(_BITS, 61 - n_users.bit_length())
    whole: ndarray = np.maximum(np.round(weight * (2.0**bits / weight.sum())), 1).astype(np.int64)
    return whole
