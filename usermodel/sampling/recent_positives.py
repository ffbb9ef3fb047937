"""Recency-based sampling of positives: some targets of each user, late ones more often than early ones."""

from __future__ import annotations

from typing import ClassVar, Final, Literal

import numpy as np
from jaxtyping import Float64
from numpy import ndarray
from pydantic import Field, model_validator

from usermodel.events.splits import Split
from usermodel.sampling.pieces import pieces_to
from usermodel.sampling.protocol import Examples, SamplerConfig
from usermodel.store.sequence_store import SequenceStore

Importance = Literal["exponential", "linear", "power"]
#: Of the experiments of the paper.
ALPHA: Final = 0.8
POWER: Final = 2.0


class RecentPositivesConfig(SamplerConfig):
    """``draws`` slices a user, each ending with a target at place k of n with probability in proportion to ``f(k)``.

    ``k`` counts the events of the training history from 0; the first is no target, because nothing comes before it. ``f(k)`` is
    ``alpha^(n-1-k)`` (``exponential``), ``k`` (``linear``) or ``k^power``. Draws are independent: a target may come twice.

    Recency sampling of sequences (RSS, Petrov & Macdonald 2022, section 4). Deviations: there the inputs are all events that
    were not drawn, later ones among them; here they are those before the target, so that no input follows its target. There the
    draws of a history are the labels of one example; here each is an example of its own.

    For objectives with one target a slice, such as `LastItem`. `NextItem` takes every event of a slice but the first for a
    target, so that what is drawn is where its slices end.

    Attributes:
        importance: See above.
        draws: Slices a user, of every user with two training events.
        alpha: Of ``exponential``; None means 0.8. 1 gives every target the same probability.
        power: Of ``power``, 0 to 10; None means 2.
    """

    targets_as_counted: ClassVar[bool] = False

    importance: Importance = "exponential"
    draws: int = Field(default=1, ge=1)
    alpha: float | None = Field(default=None, gt=0, le=1)
    power: float | None = Field(default=None, ge=0, le=10)

    @model_validator(mode="after")
    def _no_option_without_effect(self) -> RecentPositivesConfig:
        for name, kind in (("alpha", "exponential"), ("power", "power")):
            if getattr(self, name) is not None and self.importance != kind:
                raise ValueError(f"{name} only with importance={kind}, got importance={self.importance}")
        return self

    def sample(
        self, store: SequenceStore, split: Split, *, max_history: int, rng: np.random.Generator
    ) -> Examples:
        """``max_history`` inputs at most and the target after them; the draws of a user stand together."""
        targets = split.train_stop - split.start - 1
        user = np.repeat(np.flatnonzero(targets >= 1), self.draws)
        targets = targets[user]
        if not len(user):
            return pieces_to(store, split, user, user, max_history)
        # Running sums of the weights serve histories of every length: they begin where the weights do not depend on it, which
        # is at the last event for weights by distance, and at the first for weights by place.
        sums = self._sums(int(targets.max()))
        found = np.searchsorted(sums, rng.random(len(user)) * sums[targets - 1], side="right")
        found = np.minimum(found, targets - 1)
        place = targets - found if self.importance == "exponential" else 1 + found
        return pieces_to(store, split, user, split.start[user] + place, max_history)

    def _sums(self, n: int) -> Float64[ndarray, " n"]:
        """Of the weights of the last 1 to n targets (``exponential``) or the first 1 to n."""
        if self.importance == "exponential":
            sums = np.cumsum((ALPHA if self.alpha is None else self.alpha) ** np.arange(n, dtype=np.float64))
        else:
            power = 1.0 if self.importance == "linear" else POWER if self.power is None else self.power
            sums = np.cumsum(np.arange(1, n + 1, dtype=np.float64) ** power)
        return sums
