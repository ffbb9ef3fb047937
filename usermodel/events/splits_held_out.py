"""User split: some users are held out whole, to ask what the vectors of strangers are worth."""

from __future__ import annotations

import hashlib
from typing import ClassVar, Literal

import numpy as np
import polars as pl
from jaxtyping import Float, Int64
from numpy import ndarray
from pydantic import Field

from usermodel.errors import DataError
from usermodel.events.splits_base import Split, SplitBase, UserIds
from usermodel.events.splits_user import require_room
from usermodel.schema import TimeKind


class UserSplitConfig(SplitBase):
    """Disjoint users: a share of them tests, a share validates, the others train with all of their events.

    A user's part is a seeded hash of the external id's text, so it depends on no other user, on no order and on no
    event. The target of a held-out user is the last event; what comes before is its history and in no part: nothing is
    trained or counted on it. Time is not cut: training events of others may be later than a target.

    Attributes:
        valid: Share of the users who validate, about.
        test: Share of the users who test, about.
        seed: Another seed draws other users.
    """

    disjoint_users: ClassVar[bool] = True

    kind: Literal["user-split"] = "user-split"
    valid: float = Field(default=0.1, ge=0, lt=1)
    test: float = Field(default=0.1, gt=0, lt=1)
    seed: int = Field(default=0, ge=0)

    @property
    def holds_when_grown(self) -> bool:
        """A user's part depends on the id alone."""
        return True

    def split(
        self,
        offsets: Int64[ndarray, " users+1"],
        times: ndarray,
        time_kind: TimeKind,
        user_ids: UserIds | None = None,
    ) -> Split:
        """Put every user into one part.

        Raises:
            DataError: The ids of the users are not known, or no user is left to train on.
            ConfigError: The shares leave nobody to train on.
        """
        del times, time_kind
        require_room(self.valid, self.test)
        start, stop = offsets[:-1], offsets[1:]
        if user_ids is None:
            do = "Split a store: store.split(config)."
            raise DataError("data.split", expected="the ids of the users", found="none", do=do)
        place = self.draw(user_ids())
        tests, trains = place < self.test, place >= self.test + self.valid
        if not trains.any():
            found = f"all of {len(place):,} held out"
            do = "Ingest more users, lower data.split.valid or data.split.test, or change data.split.seed."
            raise DataError("data.split", expected="users to train on", found=found, do=do)
        # A one-event user who is held out has no history, therefore no target, and trains nothing either.
        last = np.where(stop - start >= 2, stop - 1, stop)
        return Split(
            start=start.copy(),
            train_stop=np.where(trains, stop, start),
            held_from=np.where(trains, stop, last),
            valid_stop=np.where(tests, last, stop),
            test_stop=stop.copy(),
            name=f"{self.kind} {self.valid:g} {self.test:g} seed {self.seed}",
        )

    def draw(self, ids: pl.Series) -> Float[ndarray, " users"]:
        """A number in [0, 1) per id: the first 53 bits of sha256("SEED:ID") over 2^53."""
        head = hashlib.sha256(f"{self.seed}:".encode())
        place = np.empty(len(ids), dtype=np.float64)
        for row, text in enumerate(ids.cast(pl.String)):
            digest = head.copy()
            digest.update(text.encode())
            # 53 bits, because a float holds no more and must stay below 1.
            place[row] = (int.from_bytes(digest.digest()[:8], "big") >> 11) / 2.0**53
        return place
