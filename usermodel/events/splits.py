"""Splits: which events train, which validate, which test.

A split cuts each user's history, ordered by (time, file position), into three consecutive ranges. That one shape makes
the promise checkable: nothing in a user's train range comes after anything in the valid range, and so on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Int64
from numpy import ndarray
from pydantic import BeforeValidator, Field

from usermodel.config import Config
from usermodel.errors import DataError
from usermodel.schema import TimeKind


@dataclass(frozen=True)
class Split:
    """Row ranges of each user: train ``[offset, train_stop)``, valid ``[train_stop, valid_stop)``, test up to ``test_stop``.

    Attributes:
        start: Store row at which the user's history begins.
        train_stop: Store row at which the user's training history ends.
        valid_stop: Store row at which the validation range ends.
        test_stop: Store row at which the test range ends.
        name: What made it, as printed beside every number.
    """

    start: Int64[ndarray, " users"]
    train_stop: Int64[ndarray, " users"]
    valid_stop: Int64[ndarray, " users"]
    test_stop: Int64[ndarray, " users"]
    name: str

    def targets(self, part: Literal["valid", "test"]) -> tuple[Int64[ndarray, " n"], Int64[ndarray, " n"]]:
        """Users with a target in ``part`` and the store row of the first one.

        A user's history for that target is everything before the row: the validation range counts as history of a test
        target. A user whose range begins with the very first event has no history and therefore no target.
        """
        first, stop = (
            (self.train_stop, self.valid_stop) if part == "valid" else (self.valid_stop, self.test_stop)
        )
        users = np.flatnonzero((stop > first) & (first > self.start))
        return users, first[users]


class LeaveLastOutConfig(Config):
    """Leave-last-out per user: the last event tests, the one before validates, the rest trains.

    A target always has a history: a user of two events has no validation target, a user of one event only trains.
    """

    kind: Literal["leave-last-out"] = "leave-last-out"

    def split(self, offsets: Int64[ndarray, " users+1"], times: ndarray, time_kind: TimeKind) -> Split:
        """Cut every history; ``times`` is not needed, because rows are already in order."""
        del times, time_kind
        start, stop = offsets[:-1], offsets[1:]
        count = stop - start
        valid_stop = np.where(count >= 2, stop - 1, stop)
        train_stop = np.where(count >= 3, stop - 2, valid_stop)
        return Split(start.copy(), train_stop, valid_stop, stop.copy(), self.kind)


class GlobalTimeConfig(Config):
    """Two cuts at the same moments for everyone: train before ``valid_from``, test from ``test_from`` on.

    Times are int64 microseconds UTC. When the cuts are not given they are the quantiles ``valid_quantile`` and
    ``test_quantile`` of the event times. A target's history is strictly earlier in time.
    """

    kind: Literal["global-time"] = "global-time"
    valid_from: int | None = None
    test_from: int | None = None
    valid_quantile: float = Field(default=0.8, gt=0, lt=1)
    test_quantile: float = Field(default=0.9, gt=0, lt=1)

    def split(self, offsets: Int64[ndarray, " users+1"], times: ndarray, time_kind: TimeKind) -> Split:
        """Cut every history at the two moments.

        Raises:
            DataError: The store knows only an order, or the cuts are not in order.
        """
        if time_kind == "order":
            do = "Use leave-last-out, or ingest a log with times."
            raise DataError("data.split", expected="a store with times", found="an order-only store", do=do)
        ordered = np.sort(times)
        valid_from = (
            self.valid_from if self.valid_from is not None else _quantile(ordered, self.valid_quantile)
        )
        test_from = self.test_from if self.test_from is not None else _quantile(ordered, self.test_quantile)
        if valid_from >= test_from:
            found = f"{valid_from} and {test_from}"
            raise DataError(
                "data.split", expected="valid_from before test_from", found=found, do="Move the cuts apart."
            )
        train, valid = (offsets[:-1] + _count_before(times, offsets, cut) for cut in (valid_from, test_from))
        return Split(
            offsets[:-1].copy(), train, valid, offsets[1:].copy(), f"{self.kind} {valid_from} {test_from}"
        )


def _count_before(times: ndarray, offsets: ndarray, cut: int) -> ndarray:
    """Events of each user with a time before ``cut``."""
    before = np.r_[0, np.cumsum(times < cut)]
    return np.asarray(before[offsets[1:]] - before[offsets[:-1]])


def _quantile(ordered: ndarray, q: float) -> int:
    return int(ordered[min(int(q * len(ordered)), len(ordered) - 1)]) if len(ordered) else 0


def _from_name(value: object) -> object:
    """``--set data.split=global-time`` means that split with its defaults."""
    return {"kind": value} if isinstance(value, str) else value


SplitConfig = Annotated[
    LeaveLastOutConfig | GlobalTimeConfig, Field(discriminator="kind"), BeforeValidator(_from_name)
]
