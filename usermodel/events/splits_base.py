"""Split: the part of every event, as row ranges per user. SplitBase: what makes one.

A split cuts each user's history, ordered by (time, file position), into consecutive ranges. That one shape makes the
promise checkable: nothing in a user's train range comes after anything in the valid range, and so on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Final, Protocol

import numpy as np
import polars as pl
from jaxtyping import Int64
from numpy import ndarray

from usermodel.config import Config
from usermodel.errors import DataError
from usermodel.events.vocabulary import Vocabulary
from usermodel.schema import SplitName, TimeKind

PARTS: Final[tuple[SplitName, ...]] = ("train", "valid", "test")

#: Gives the external id of every user, in store order. A function, because only a split by users needs to read them.
UserIds = Callable[[], pl.Series]


class Histories(Protocol):
    """What a split asks of a store."""

    content_hash: str

    @property
    def offsets(self) -> Int64[ndarray, " users+1"]:
        """First row of each user, and the number of events at the end."""
        ...

    @property
    def times(self) -> Int64[ndarray, " events"]:
        """Time of each event."""
        ...

    @property
    def time_kind(self) -> TimeKind:
        """``utc`` or ``order``."""
        ...

    @property
    def users(self) -> Vocabulary:
        """User ids; user ``u`` has index ``u + 1``."""
        ...


@dataclass(frozen=True)
class FittedOn:
    """The data that a fitted statistic has seen: the training part of one split of one store.

    Attributes:
        split: Name of the split, for messages.
        hash: `Split.hash`.
    """

    split: str
    hash: str


@dataclass(frozen=True)
class Split:
    """Row ranges of each user: train ``[start, train_stop)``, valid ``[valid_start, valid_stop)``, test up to ``test_stop``.

    Rows of a user outside every range are in no part: nothing is fitted on them. Those before a target are its history
    all the same, as for a held-out user, whose training range is empty.

    Attributes:
        start: Store row at which the user's history begins.
        train_stop: Store row at which the user's training history ends.
        valid_stop: Store row at which the validation range ends and the test range begins.
        test_stop: Store row at which the test range ends.
        name: What made it, as printed beside every number.
        held_from: Store row at which the validation range begins; None: where training ends.
        config: The configuration that made it, if one did.
        store_hash: Content hash of the store it was made for, if known.
    """

    start: Int64[ndarray, " users"]
    train_stop: Int64[ndarray, " users"]
    valid_stop: Int64[ndarray, " users"]
    test_stop: Int64[ndarray, " users"]
    name: str
    held_from: Int64[ndarray, " users"] | None = None
    config: SplitBase | None = None
    store_hash: str = ""

    @property
    def valid_start(self) -> Int64[ndarray, " users"]:
        """Store row at which the validation range begins."""
        return self.train_stop if self.held_from is None else self.held_from

    @property
    def hash(self) -> str:
        """Identity: sha256 of the canonical configuration and the store; empty for a split made by hand."""
        return split_hash(self.config, self.store_hash) if self.config and self.store_hash else ""

    @property
    def fitted_on(self) -> FittedOn | None:
        """What a statistic of the training part carries with it; None for a split made by hand."""
        return FittedOn(self.name, self.hash) if self.hash else None

    def part(self, name: SplitName) -> tuple[Int64[ndarray, " users"], Int64[ndarray, " users"]]:
        """First row of each user in a part, and the row after the last one; equal where the user has none."""
        ranges = {
            "train": (self.start, self.train_stop),
            "valid": (self.valid_start, self.valid_stop),
            "test": (self.valid_stop, self.test_stop),
        }
        return ranges[name]

    def targets(self, part: SplitName) -> tuple[Int64[ndarray, " n"], Int64[ndarray, " n"]]:
        """Users with a target in ``part`` and the store row of the first one.

        A user's history for that target is everything before the row: the validation range counts as history of a test
        target. A user whose range begins with the very first event has no history and therefore no target.
        """
        first, stop = self.part(part)
        users = np.flatnonzero((stop > first) & (first > self.start))
        return users, first[users]

    def table(self, store: Histories) -> pl.DataFrame:
        """SPLITS: ``user_id, split, start, stop``, positions in the user's history; see `splits_table.split_table`."""
        from usermodel.events.splits_table import split_table

        return split_table(self, store)

    def counts(self) -> dict[str, dict[str, int]]:
        """Users and events in each part."""
        lengths = {name: np.subtract(*self.part(name)[::-1]) for name in PARTS}
        return {name: {"users": int((n > 0).sum()), "events": int(n.sum())} for name, n in lengths.items()}


class SplitBase(Config):
    """Base of the split configurations; what a kind promises beyond order within each user is a class fact.

    Attributes:
        strict_in_time: A target is later in time than its whole history, and all of train is earlier than all of valid,
            and that than all of test.
        disjoint_users: No user is in two parts.
    """

    strict_in_time: ClassVar[bool] = False
    disjoint_users: ClassVar[bool] = False

    @property
    def holds_when_grown(self) -> bool:
        """Whether what was a target in training can never be held out once the store has more events."""
        return False

    def split(
        self,
        offsets: Int64[ndarray, " users+1"],
        times: Int64[ndarray, " events"],
        time_kind: TimeKind,
        user_ids: UserIds | None = None,
    ) -> Split:
        """Cut every history.

        Args:
            offsets: First row of each user, and the number of events at the end.
            times: Time of each row; rows of a user are in (time, file position).
            time_kind: Whether times are moments or mere positions.
            user_ids: External ids, for a split that goes by them.

        Raises:
            DataError: The store cannot be cut this way.
            ConfigError: The configuration asks for the impossible.
        """
        raise NotImplementedError

    def of(self, store: Histories) -> Split:
        """The split of a store, which knows what made it and for whom."""
        made = self.split(
            np.asarray(store.offsets), np.asarray(store.times), store.time_kind, lambda: store.users.ids
        )
        return dataclasses.replace(made, config=self, store_hash=store.content_hash)

    def moments(self, times: Int64[ndarray, " events"]) -> tuple[int, ...] | None:
        """When a part ends and the next begins, for everyone: of train, of valid, and of test where something comes later.

        None for splits that do not cut at moments.
        """
        del times
        return None

    def splits(self, store: Histories) -> Iterator[Split]:
        """Every split of the protocol: one, except for rolling windows."""
        yield self.of(store)


def split_hash(config: SplitBase, store_hash: str) -> str:
    """Identity of the split of a store: equal for equal configurations and content, whatever the paths."""
    text = json.dumps([config.model_dump(mode="json"), store_hash], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def require_times(kind: str, time_kind: TimeKind) -> None:
    """Raise `DataError` unless the store knows moments."""
    if time_kind == "order":
        do = "Use leave-last-out, or ingest a log with times."
        if kind != "global-time":
            do = f"{kind} cuts at moments. {do}"
        raise DataError("data.split", expected="a store with times", found="an order-only store", do=do)


def fraction_of(count: ndarray, fraction: float) -> Int64[ndarray, " users"]:
    """Whole events in a fraction of each history, rounded down; 0.29 of 100 is 29, whatever floats say."""
    rounded: ndarray = np.floor(count * fraction + 1e-9).astype(np.int64)
    return rounded
