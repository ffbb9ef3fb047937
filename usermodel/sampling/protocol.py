"""Examples: which slices of which users go into a batch, as indices."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from usermodel.config import Config
from usermodel.events.splits import Split
from usermodel.store.sequence_store import SequenceStore
from usermodel.store.sequences import Sequences
from usermodel.store.unknown import UnknownEvents

Part = Literal["valid", "test"]


@dataclass(frozen=True)
class Examples:
    """Slices of a store, struct of arrays.

    Attributes:
        user: User of each example.
        start: First store row of the slice.
        stop: Row after the last one of the slice.
        target_start: First row of the target range; at or after ``stop``, so that a target is never an input.
        target_stop: Row after the last target; equal to ``target_start`` when there is none.
        prediction_time: When the prediction is made, int64 microseconds (or order): inputs come before it in (time, file
            position).
        partner_start: First store row of another slice that belongs to the example; None where there is none.
        partner_stop: Row after its last one.
        label: Answers to each example, by number: the right one first, see `SamplerConfig.answers`; None where there are none.
    """

    user: Int64[ndarray, " n"]
    start: Int64[ndarray, " n"]
    stop: Int64[ndarray, " n"]
    target_start: Int64[ndarray, " n"]
    target_stop: Int64[ndarray, " n"]
    prediction_time: Int64[ndarray, " n"]
    partner_start: Int64[ndarray, " n"] | None = None
    partner_stop: Int64[ndarray, " n"] | None = None
    label: Int64[ndarray, "n answers"] | None = None

    def __len__(self) -> int:
        return len(self.user)

    def __post_init__(self) -> None:
        assert bool(np.all(self.start <= self.stop)), "a slice ends before it starts"
        assert bool(np.all(self.stop <= self.target_start)), "a target lies inside its own history"

    @property
    def lengths(self) -> Int64[ndarray, " n"]:
        """Events in each slice."""
        lengths: ndarray = self.stop - self.start
        return lengths

    @property
    def offsets(self) -> Int64[ndarray, " borders"]:
        """Where each slice begins when all are laid end to end, and at last how many events that are."""
        return np.concatenate([[0], np.cumsum(self.lengths)])

    def take(self, rows: ndarray) -> Examples:
        """The examples at ``rows``, in that order."""
        return Examples(
            self.user[rows],
            self.start[rows],
            self.stop[rows],
            self.target_start[rows],
            self.target_stop[rows],
            self.prediction_time[rows],
            None if self.partner_start is None else self.partner_start[rows],
            None if self.partner_stop is None else self.partner_stop[rows],
            None if self.label is None else self.label[rows],
        )

    def distinct(self) -> tuple[Int64[ndarray, " distinct"], Int64[ndarray, " n"]]:
        """An example of each different slice, and for each example the place of its slice among these."""
        # One number for both ends: rows of a store say whose events they are.
        key = self.start * (self.stop.max(initial=0) + 1) + self.stop
        _, first, place = np.unique(key, return_index=True, return_inverse=True)
        return first, place

    def with_partner(self, start: Int64[ndarray, " n"], stop: Int64[ndarray, " n"]) -> Examples:
        """The same examples, each with another slice that belongs to it."""
        return dataclasses.replace(self, partner_start=start, partner_stop=stop)

    def thinned(self, most: int) -> Examples:
        """Every n-th example, so that at most ``most`` are left."""
        return self if len(self) <= most else self.take(np.arange(0, len(self), -(-len(self) // most)))

    def fingerprint(self) -> str:
        """sha256 of the slices and labels."""
        label = np.zeros((len(self), 0), dtype=np.int64) if self.label is None else self.label
        table = np.column_stack([self.user, self.start, self.stop, label])
        return hashlib.sha256(repr(table.shape).encode() + table.astype("<i8").tobytes()).hexdigest()

    def shortened(self) -> Examples:
        """The slices without their last event, which is a target; without partners."""
        stop = np.maximum(self.stop - 1, self.start)
        return Examples(self.user, self.start, stop, stop, stop, self.prediction_time)

    def partners(self) -> Examples | None:
        """The other slices as examples, in the same order; None where there are none.

        A partner counts as a slice of the user it is the partner of.
        """
        if self.partner_start is None or self.partner_stop is None:
            return None
        start, stop = self.partner_start, self.partner_stop
        return Examples(self.user, start, stop, stop, stop, self.prediction_time)

    @staticmethod
    def histories(
        store: Sequences, users: ndarray, stop: ndarray, max_history: int, n_items: int | None = None
    ) -> Examples:
        """One example per user: the last ``max_history`` events before row ``stop``, and the event at ``stop`` as target.

        Where ``stop`` ends the user's history there is no target, and the prediction is made just after the last event.

        Args:
            store: Holds the events.
            users: Positions of the users.
            stop: Row after the last event that may be read, for each.
            max_history: Events to read.
            n_items: Items that the encoder knows, 1 to ``n_items``; None means all. Events of others lie inside the slices
                but do not count towards ``max_history``: whoever reads a slice skips them.
        """
        users, stop = users.astype(np.int64), stop.astype(np.int64)
        first, end = store.offsets[users], store.offsets[users + 1]
        assert bool(np.all((first <= stop) & (stop <= end))), "a history stops outside its user"
        unknown = UnknownEvents() if n_items is None else store.unknown(n_items)
        start = unknown.latest(first, stop, max_history)
        target_stop = np.minimum(stop + 1, end)
        ahead = np.zeros(len(users), dtype=np.int64)
        if len(store.times):
            times, last = store.times, store.times[np.maximum(stop - 1, 0)]
            # Times may be any 64-bit number, and nothing comes after the last of them.
            after = last + (last < np.iinfo(np.int64).max)
            ahead = np.where(stop < end, times[np.minimum(stop, len(times) - 1)], after)
        return Examples(users, start, stop, stop, target_stop, ahead)


class SamplerConfig(Config):
    """Base of samplers; a sampler is a value, so its configuration is all of it.

    Attributes:
        targets_as_counted: Whether an item is a target about as often as it has training events, which negatives from the batch
            take for granted where they go by counts.
    """

    targets_as_counted: ClassVar[bool] = True

    @property
    def draws_labels(self) -> bool:
        """Whether its examples have labels; `answers` and `held_out` then say more."""
        return False

    @property
    def draws_partners(self) -> bool:
        """Whether its examples have partners."""
        return False

    def sample(
        self, store: SequenceStore, split: Split, *, max_history: int, rng: np.random.Generator
    ) -> Examples:
        """Choose the examples of one epoch.

        Args:
            store: Holds the events.
            split: Only the training part may be used.
            max_history: Input events the encoder can read.
            rng: Equal generators give equal examples.
        """
        raise NotImplementedError

    def answers(self, store: SequenceStore) -> tuple[str, ...]:
        """What the numbers in `Examples.label` stand for; for samplers that draw labels.

        Raises:
            DataError: The store has no such labels.
        """
        raise NotImplementedError

    def held_out(self, store: SequenceStore, split: Split, part: Part, max_history: int) -> Examples:
        """The labelled examples that `sample` never draws; for samplers that draw labels.

        Args:
            store: Holds the events and the labels.
            split: Only the training part of a history is read, as by `sample`.
            part: Which of them.
            max_history: Input events the encoder can read.

        Returns:
            Examples whose label is the right answer, and after it other right ones; -1 fills the gaps.
        """
        raise NotImplementedError
