"""What every watch-time head is: a code for labels, fitted on training rows, and the layers that guess the code from a row's vector.

Labels are in one unit throughout, seconds unless the caller says otherwise; durations likewise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from numpy import ndarray
from torch import Tensor, nn

from usermodel.config import Config
from usermodel.errors import DataError


class WatchTimeHead(nn.Module, ABC):
    """Guesses watch times from vectors of rows."""

    @abstractmethod
    def loss(
        self,
        x: Float[Tensor, "rows dim"],
        label: Float[Tensor, " rows"],
        duration: Float[Tensor, " rows"],
    ) -> Float[Tensor, ""]:
        """Mean over the rows; 0 with zero gradient where there is none."""

    @abstractmethod
    def forward(
        self, x: Float[Tensor, "rows dim"], duration: Float[Tensor, " rows"]
    ) -> Float[Tensor, " rows"]:
        """Guesses, in the unit of the labels."""

    def mixed(
        self,
        label: Float[Tensor, " rows"],
        duration: Float[Tensor, " rows"],
        partner: Int64[Tensor, " rows"],
        share: Float[Tensor, " rows"],
    ) -> Float[Tensor, " rows"]:
        """Labels of rows that keep ``share`` of themselves and get the rest from their partners."""
        del duration
        return share * label + (1 - share) * label[partner]


class WatchTimeConfig(Config, ABC):
    """A way to guess watch times. One file each; everything that is learned from labels without gradients is in `statistics`."""

    @abstractmethod
    def statistics(
        self, label: Float64[ndarray, " rows"], duration: Float64[ndarray, " rows"]
    ) -> dict[str, Tensor]:
        """What the code needs to know of training rows; saved with the head."""

    @abstractmethod
    def build(self, dim: int, statistics: Mapping[str, Tensor]) -> WatchTimeHead:
        """A head for vectors of width ``dim``, with new weights."""

    def fit(
        self, dim: int, label: Float64[ndarray, " rows"], duration: Float64[ndarray, " rows"]
    ) -> WatchTimeHead:
        """A head whose code is fitted on training rows.

        Args:
            dim: Width of the vectors of rows.
            label: Watch time of each row.
            duration: Of the item of each row; what is not above 0 is unknown.

        Raises:
            DataError: No row, labels that are negative or not finite, or all of them 0.
        """
        require_labels(label, duration)
        return self.build(dim, self.statistics(label, np.where(duration > 0, duration, 0.0)))


def require_labels(label: Float64[ndarray, " rows"], duration: Float64[ndarray, " rows"]) -> None:
    """Raise `DataError` unless there is something to learn from."""
    do = "Leave these rows out."
    if len(label) != len(duration):
        found = f"{len(label):,} and {len(duration):,}"
        raise DataError("watch time", expected="a duration for each label", found=found, do=do)
    if not len(label):
        raise DataError("watch time", expected="training rows", found="none", do="Use another split.")
    if not (np.isfinite(label).all() and (label >= 0).all()):
        odd = label[~(np.isfinite(label) & (label >= 0))]
        found = f"{odd[0]} ({len(odd):,} such rows)"
        raise DataError("watch time", expected="finite labels of at least 0", found=found, do=do)
    if not label.any():
        raise DataError("watch time", expected="a label above 0", found="none", do="Check the column.")


def mean_of_rows(values: Float[Tensor, " rows"]) -> Float[Tensor, ""]:
    """The mean; 0 with zero gradient of no row."""
    return values.sum() / max(len(values), 1)


def scalar(value: float) -> Tensor:
    """A statistic of one number."""
    return torch.tensor(value, dtype=torch.float64)
