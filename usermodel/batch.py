"""JaggedBatch: histories of several users laid end to end, without padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Bool, Int64, Shaped
from torch import Tensor

from usermodel.sampling.protocol import Examples
from usermodel.store.sequences import Sequences


@dataclass(frozen=True)
class JaggedBatch:
    """Events of ``users`` users; user ``u`` owns rows ``offsets[u]`` to ``offsets[u + 1]``, oldest first.

    Attributes:
        item_index: Item of each event, 1 to n_items.
        timestamps_s: Time of each event in seconds UTC, or its order in an order-only store.
        offsets: Starts at 0, never falls, ends at the number of events.
        features: Further columns of the store by name, one value an event: numbers, or codes with 0 = no value.
        masked: Events whose item the encoder must not see: it reads its mask token instead; None means none.
        partner: For each user another history that belongs to the example, as `Examples.partners` says; None means none.
            Encoders do not look at it.
        label: For each user the answers of the example, as `Examples.label`; None means none. Encoders do not look at it.
        user: Number of each user in the store that was read; None where nobody knows. Encoders do not look at it.
    """

    item_index: Int64[Tensor, " events"]
    timestamps_s: Int64[Tensor, " events"]
    offsets: Int64[Tensor, " users+1"]
    features: dict[str, Shaped[Tensor, " events"]] = field(default_factory=dict)
    masked: Bool[Tensor, " events"] | None = None
    partner: JaggedBatch | None = None
    label: Int64[Tensor, "users answers"] | None = None
    user: Int64[Tensor, " users"] | None = None

    @property
    def n_users(self) -> int:
        """Users in the batch, those without events included."""
        return len(self.offsets) - 1

    @property
    def n_events(self) -> int:
        """Events in the batch."""
        return len(self.item_index)

    @property
    def lengths(self) -> Int64[Tensor, " users"]:
        """Events of each user."""
        return self.offsets.diff()

    @property
    def user_of_event(self) -> Int64[Tensor, " events"]:
        """Position in the batch of the user that owns each event."""
        users = torch.arange(self.n_users, device=self.offsets.device)
        return torch.repeat_interleave(users, self.lengths, output_size=self.n_events)

    @property
    def owner(self) -> Int64[Tensor, " events"] | None:
        """Number in the store of the user that owns each event; None where nobody knows."""
        return None if self.user is None else self.user[self.user_of_event]

    @property
    def position(self) -> Int64[Tensor, " events"]:
        """Place of each event in its user's slice, 0 = oldest."""
        rows = torch.arange(self.n_events, device=self.offsets.device)
        return rows - self.offsets[:-1][self.user_of_event]

    def to(self, device: torch.device | str) -> JaggedBatch:
        """The batch on another device."""
        columns = {name: column.to(device) for name, column in self.features.items()}
        masked = None if self.masked is None else self.masked.to(device)
        events = self.item_index.to(device), self.timestamps_s.to(device)
        user = None if self.user is None else self.user.to(device)
        return JaggedBatch(*events, self.offsets.to(device), columns, masked, user=user)

    def rows(self, index: Shaped[Tensor, " taken"], offsets: Int64[Tensor, " borders"]) -> JaggedBatch:
        """Events by number or by mask, in new histories whose borders are ``offsets``."""
        columns = {name: column[index] for name, column in self.features.items()}
        masked = None if self.masked is None else self.masked[index]
        return JaggedBatch(self.item_index[index], self.timestamps_s[index], offsets, columns, masked)

    def take(self, users: Int64[Tensor, " taken"]) -> JaggedBatch:
        """The given users in that order; the batch itself where these are all of them in its own order."""
        everyone = torch.arange(self.n_users, device=users.device)
        if torch.equal(users, everyone):
            return self
        lengths = self.lengths[users]
        offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        shift = torch.repeat_interleave(self.offsets[users] - offsets[:-1], lengths)
        taken = self.rows(shift + torch.arange(len(shift), device=users.device), offsets)
        return taken if self.user is None else replace(taken, user=self.user[users])

    def select(self, keep: Tensor) -> JaggedBatch:
        """Only the events where ``keep`` (bool ``[events]``) is true; users stay, even when nothing is left of them."""
        ends = torch.cat([keep.new_zeros(1, dtype=torch.int64), keep.cumsum(0)])
        return replace(self.rows(keep, ends[self.offsets]), user=self.user)

    def latest(self, n: int) -> JaggedBatch:
        """At most ``n`` events of each user, the latest ones."""
        owner = self.user_of_event
        return self.select(self.position >= self.lengths[owner] - n)

    def shifted(self) -> tuple[JaggedBatch, Int64[Tensor, " inputs"]]:
        """Inputs and targets of next-item training: all but the last event of each user, and the event after each."""
        last = torch.zeros(self.n_events, dtype=torch.bool, device=self.item_index.device)
        last[(self.offsets[1:] - 1)[self.lengths > 0]] = True
        keep = ~last
        following = torch.roll(self.item_index, -1)
        return self.select(keep), following[keep]

    def without_last(self) -> tuple[JaggedBatch, Int64[Tensor, " filled"]]:
        """Histories without their last event, and the item of that event; users without events are left out."""
        filled = torch.nonzero(self.lengths).squeeze(1)
        batch = self.take(filled)
        last = torch.zeros(batch.n_events, dtype=torch.bool, device=filled.device)
        last[batch.offsets[1:] - 1] = True
        return batch.select(~last), batch.item_index[last]

    @staticmethod
    def join(batches: Sequence[JaggedBatch]) -> JaggedBatch:
        """The users of several batches with the same columns, one batch after the other."""
        first = batches[0]
        lengths = torch.cat([one.lengths for one in batches])
        masked = None
        if any(one.masked is not None for one in batches):
            none = [torch.zeros_like(one.item_index, dtype=torch.bool) for one in batches]
            masked = torch.cat(
                [n if one.masked is None else one.masked for one, n in zip(batches, none, strict=True)]
            )
        return JaggedBatch(
            torch.cat([one.item_index for one in batches]),
            torch.cat([one.timestamps_s for one in batches]),
            torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]),
            {name: torch.cat([one.features[name] for one in batches]) for name in first.features},
            masked,
            user=_joined([one.user for one in batches]),
        )

    def padded(self, *, left: bool = False) -> tuple[Int64[Tensor, "users time"], Tensor]:
        """Item indices as a rectangle with 0 in the gaps, and the mask of real events ``[users, time]``."""
        width = int(self.lengths.max()) if self.n_users else 0
        column = self.position
        if left:
            column = column + (width - self.lengths)[self.user_of_event]
        items = self.item_index.new_zeros(self.n_users, width)
        mask = torch.zeros(self.n_users, width, dtype=torch.bool, device=items.device)
        items[self.user_of_event, column] = self.item_index
        mask[self.user_of_event, column] = True
        return items, mask


def _joined(parts: list[Tensor | None]) -> Tensor | None:
    """One after the other; None where one of them is."""
    known = [part for part in parts if part is not None]
    return torch.cat(known) if len(known) == len(parts) else None


def collate(store: Sequences, examples: Examples) -> JaggedBatch:
    """Read the input slices of ``examples`` out of a store.

    Returns:
        A batch on the CPU with one user per example, in the order of the examples.
    """
    offsets = examples.offsets
    rows = np.repeat(examples.start - offsets[:-1], examples.lengths) + np.arange(offsets[-1])
    return JaggedBatch(
        torch.from_numpy(store.items[rows].astype(np.int64)),
        torch.from_numpy(store.times[rows] // units_a_second(store)),
        torch.from_numpy(offsets),
        {name: torch.from_numpy(store.feature(name)[rows]) for name in store.features},
        user=torch.from_numpy(examples.user.astype(np.int64)),
    )


def units_a_second(store: Sequences) -> int:
    """What the times of a store are divided by: batches hold whole seconds, or the order as it is."""
    return 1 if store.time_kind == "order" else 1_000_000
