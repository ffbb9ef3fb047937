"""PerUser: a metric before the mean over users is taken, so that intervals and groups can be made of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64
from numpy import ndarray


@dataclass(frozen=True)
class PerUser:
    """A weighted mean over users: ``sum(total) / sum(weight)``. Users of weight 0 do not count.

    Attributes:
        total: What each user adds, weight included.
        weight: Weight of each user.
    """

    total: Float64[ndarray, " users"]
    weight: Float64[ndarray, " users"]

    @staticmethod
    def of(values: Float64[ndarray, " users"], counts: Bool[ndarray, " users"] | None = None) -> PerUser:
        """The plain mean of ``values``, of the users in ``counts`` where given."""
        weight = np.ones(len(values)) if counts is None else counts.astype(np.float64)
        return PerUser(values * weight, weight)

    def __len__(self) -> int:
        return len(self.total)

    @property
    def n(self) -> int:
        """Users that count."""
        return int(np.count_nonzero(self.weight))

    @property
    def is_plain(self) -> bool:
        """Whether all users weigh 1."""
        return bool((self.weight == 1).all())

    def mean(self) -> float:
        """The metric; the weights must not all be 0."""
        return float(self.total.sum() / self.weight.sum())

    def take(self, users: ndarray) -> PerUser:
        """The metric of some of the users: positions, or a mask."""
        return PerUser(self.total[users], self.weight[users])
