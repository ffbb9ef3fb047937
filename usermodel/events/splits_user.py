"""Splits within each user: the last events are held out. No moment is shared between users."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Int64
from numpy import ndarray
from pydantic import Field

from usermodel.errors import ConfigError
from usermodel.events.splits_base import Split, SplitBase, UserIds, fraction_of
from usermodel.schema import TimeKind


class LeaveLastOutConfig(SplitBase):
    """Leave-last-out per user: the last ``k`` events test, the ``k`` before validate, the rest trains.

    A target always has a history, and a part holds ``k`` events of a user or none: a user of up to ``k`` events only
    trains, one of up to ``2 k`` has no validation part. With more than one event held out, the first is the target of
    next-item evaluation.

    Attributes:
        k: Events of a user in each held-out part.
    """

    kind: Literal["leave-last-out"] = "leave-last-out"
    k: int = Field(default=1, ge=1)

    @property
    def holds_when_grown(self) -> bool:
        """A training target has later events behind it, and keeps them; but a user of 2 to ``k`` events trains on all."""
        return self.k == 1

    def split(
        self,
        offsets: Int64[ndarray, " users+1"],
        times: ndarray,
        time_kind: TimeKind,
        user_ids: UserIds | None = None,
    ) -> Split:
        """Cut every history; ``times`` are not needed, because rows are already in order."""
        del times, time_kind, user_ids
        start, stop = offsets[:-1], offsets[1:]
        count, k = stop - start, self.k
        valid_stop = np.where(count > k, stop - k, stop)
        train_stop = np.where(count > 2 * k, stop - 2 * k, valid_stop)
        name = self.kind if k == 1 else f"{self.kind} {k}"
        return Split(start.copy(), train_stop, valid_stop, stop.copy(), name)


class UserRatioConfig(SplitBase):
    """A share of each history: the last ``test`` of it tests, the ``valid`` before validates, the rest trains.

    Shares are rounded down, so every user trains on at least one event, and short histories hold nothing out.

    Attributes:
        valid: Share of each history that validates.
        test: Share of each history that tests.
    """

    kind: Literal["user-ratio"] = "user-ratio"
    valid: float = Field(default=0.1, ge=0, lt=1)
    test: float = Field(default=0.1, gt=0, lt=1)

    def split(
        self,
        offsets: Int64[ndarray, " users+1"],
        times: ndarray,
        time_kind: TimeKind,
        user_ids: UserIds | None = None,
    ) -> Split:
        """Cut every history.

        Raises:
            ConfigError: The shares leave nothing to train on.
        """
        del times, time_kind, user_ids
        require_room(self.valid, self.test)
        start, stop = offsets[:-1], offsets[1:]
        count = stop - start
        valid_stop = stop - np.minimum(fraction_of(count, self.test), np.maximum(count - 1, 0))
        room = np.maximum(valid_stop - start - 1, 0)
        train_stop = valid_stop - np.minimum(fraction_of(count, self.valid), room)
        return Split(
            start.copy(), train_stop, valid_stop, stop.copy(), f"{self.kind} {self.valid:g} {self.test:g}"
        )


def require_room(valid: float, test: float) -> None:
    """Raise `ConfigError` unless two shares leave something to train on."""
    if valid + test >= 1:
        found = f"{valid:g} + {test:g}"
        do = "Lower data.split.valid or data.split.test: the rest trains."
        raise ConfigError("data.split", expected="valid + test below 1", found=found, do=do)
