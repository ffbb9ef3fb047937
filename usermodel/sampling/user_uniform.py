"""Every user equally often, whatever the length of the history."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from usermodel.events.splits import Split
from usermodel.sampling.pieces import pieces_to
from usermodel.sampling.protocol import Examples, SamplerConfig
from usermodel.store.sequence_store import SequenceStore


class UserUniformConfig(SamplerConfig):
    """Slices that end with a target; users take turns, and each of a user's targets is as likely as any other.

    With `PiecesConfig` and `AllPositionsConfig` a user counts as often as there are targets, so that a few busy users may be most
    of the loss; here all count the same. For objectives with one target a slice, such as `LastItem`: with `NextItem`, which
    takes every event of a slice but the first for a target, users with long slices still count more.

    Attributes:
        n_examples: Slices an epoch; None means as many as there are users with two training events. The numbers of slices of two
            users differ by at most one, and who has one more is drawn.
    """

    targets_as_counted: ClassVar[bool] = False

    n_examples: int | None = Field(default=None, ge=1)

    def sample(
        self, store: SequenceStore, split: Split, *, max_history: int, rng: np.random.Generator
    ) -> Examples:
        """``max_history`` inputs at most and the target after them; in the order of users."""
        targets = split.train_stop - split.start - 1
        users = np.flatnonzero(targets >= 1)
        turns = np.zeros(len(users), dtype=np.int64)
        if len(users):
            all_of_them, more = divmod(self.n_examples or len(users), len(users))
            turns += all_of_them
            turns[rng.permutation(len(users))[:more]] += 1
        user = np.repeat(users, turns)
        return pieces_to(
            store, split, user, split.start[user] + rng.integers(1, targets[user] + 1), max_history
        )
