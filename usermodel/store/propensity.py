"""Propensities: how likely it is that an item was seen at all, guessed from how often it was taken.

Source: the power law of Rel-MF (Saito et al., WSDM 2020, section 5) over counts of the training part. It knows nothing of
relevance: where popular items are also better liked, it takes some of that for exposure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from usermodel.errors import ConfigError
from usermodel.events.splits import FittedOn, Split
from usermodel.store.sequence_store import SequenceStore


@dataclass(frozen=True)
class Propensity:
    """``theta(u, i) = max(floor, (n_i / max n) ** power * (n_u / max n) ** user_power)``, counts of training events.

    Attributes:
        item: The factor of each item index; that of 0, which is no item, is 1.
        user: The factor of each user, by position in the store.
        floor: Smallest value.
        fitted_on: The split whose training part was counted.
    """

    item: Float64[ndarray, " items+1"]
    user: Float64[ndarray, " users"]
    floor: float
    fitted_on: FittedOn | None = None

    @staticmethod
    def fit(
        store: SequenceStore, split: Split, *, power: float = 0.5, user_power: float = 0.0, floor: float = 0.0
    ) -> Propensity:
        """Count the training part.

        Args:
            store: Holds the events.
            split: Only its training part is counted. What has no event there is taken to have one, so that nothing is 0.
            power: Of an item's share of the count of the most frequent one; 0 is exposure that is the same for all.
            user_power: The same of users; 0, the default, is no user factor.
            floor: Smallest value, at most 1.

        Raises:
            ConfigError: A negative power, or a floor out of range.
        """
        for name, value, top in (
            ("power", power, np.inf),
            ("user_power", user_power, np.inf),
            ("floor", floor, 1),
        ):
            if not 0 <= value <= top:
                expected = "a number from 0" + (" to 1" if top == 1 else "")
                raise ConfigError(f"propensity.{name}", expected=expected, found=str(value), do="Change it.")
        items = store.item_counts(split.train_stop)
        factor = np.append(1.0, _power_law(items[1:], power))
        return Propensity(
            factor, _power_law(split.train_stop - split.start, user_power), floor, split.fitted_on
        )

    def of(self, users: Int64[ndarray, " n"], items: Int64[ndarray, " n"]) -> Float64[ndarray, " n"]:
        """Theta of pairs of a user's position and an item index."""
        return np.asarray(np.maximum(self.item[items] * self.user[users], self.floor))


def _power_law(counts: ndarray, power: float) -> ndarray:
    counts = np.maximum(counts, 1).astype(np.float64)
    return np.asarray((counts / counts.max(initial=1.0)) ** power)
