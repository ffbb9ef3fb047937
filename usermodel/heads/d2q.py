"""D2Q: watch time as its rank among items of about the same duration, which is what duration does not explain.

Source: Zhan et al., "Deconfounding Duration Bias in Watch-time Prediction for Video Recommendation" (KDD 2022), section 4: equal
groups by duration, labels as quantiles within the group, one regression for all. Deviation: a group keeps every distinct label, up to
``knots``, and not 100 quantiles, so that decoding undoes encoding; equal labels have the middle of their ranks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from numpy import ndarray
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import huber_loss

from usermodel.heads.watch_time import WatchTimeConfig, WatchTimeHead, mean_of_rows

_DELTA: Final = 0.2


class D2qConfig(WatchTimeConfig):
    """Groups and loss.

    Attributes:
        groups: By duration, of about as many rows each; equal durations stay together. Rows of unknown duration are one more, with the
            law of all rows where training has none of them.
        knots: Most labels that a group keeps; of more, as many quantiles.
        loss: Of quantiles: ``mse``, or ``huber`` with 0.2.
    """

    groups: int = Field(default=50, ge=1)
    knots: int = Field(default=10_000, ge=2)
    loss: Literal["mse", "huber"] = "mse"

    def statistics(
        self, label: Float64[ndarray, " rows"], duration: Float64[ndarray, " rows"]
    ) -> dict[str, Tensor]:
        """``edges`` between groups, and of each group the ``values`` of labels and their ``ranks``, from ``start`` on."""
        # As batches hold them: an edge that a rounded duration passes would move all its rows.
        duration = duration.astype(np.float32).astype(np.float64)
        known = duration[duration > 0]
        edges = np.zeros(1)
        if len(known):
            cuts = np.quantile(known, np.arange(1, self.groups) / self.groups, method="inverted_cdf")
            edges = np.unique(np.append(edges, cuts[cuts < known.max()]))
        group = np.searchsorted(edges, duration, side="left")
        order = np.lexsort((label, group))
        tables = [
            _table(part, self.knots)
            for part in np.split(label[order], np.searchsorted(group[order], np.arange(1, len(edges) + 1)))
        ]
        everyone = _table(np.sort(label), self.knots)
        tables = [one if len(one[0]) else everyone for one in tables]
        values, ranks = (np.concatenate(columns) for columns in zip(*tables, strict=True))
        start = np.cumsum([0, *(len(part) for part, _ in tables)])
        names = ("edges", "values", "ranks", "start")
        return {
            name: torch.from_numpy(one)
            for name, one in zip(names, (edges, values, ranks, start), strict=True)
        }

    def build(self, dim: int, statistics: Mapping[str, Tensor]) -> D2q:
        """See `WatchTimeConfig.build`."""
        return D2q(self, dim, statistics)


class D2q(WatchTimeHead):
    """``sigmoid(w . x + b)`` is regressed on the quantile of the label in its group; the guess is that quantile's label."""

    edges: Tensor
    values: Tensor
    ranks: Tensor
    start: Tensor

    def __init__(self, config: D2qConfig, dim: int, statistics: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.config = config
        for name in ("edges", "values", "ranks", "start"):
            self.register_buffer(name, statistics[name])
        self.out = nn.Linear(dim, 1)

    def encode(
        self, label: Float[Tensor, " rows"], duration: Float[Tensor, " rows"]
    ) -> Float64[Tensor, " rows"]:
        """The quantile of each label in its group; of labels between two that are known, by interpolation."""
        return self._interpolate(label, duration, self.values, self.ranks)

    def decode(
        self, quantile: Float[Tensor, " rows"], duration: Float[Tensor, " rows"]
    ) -> Float64[Tensor, " rows"]:
        """The label at each quantile of its group; below the first and above the last, these."""
        return self._interpolate(quantile, duration, self.ranks, self.values)

    def mixed(
        self,
        label: Float[Tensor, " rows"],
        duration: Float[Tensor, " rows"],
        partner: Int64[Tensor, " rows"],
        share: Float[Tensor, " rows"],
    ) -> Float[Tensor, " rows"]:
        """Quantiles are mixed, because seconds of another duration mean something else."""
        own = self.encode(label, duration)
        quantile = share * own + (1 - share) * own[partner]
        return self.decode(quantile, duration).to(label.dtype)

    def loss(
        self,
        x: Float[Tensor, "rows dim"],
        label: Float[Tensor, " rows"],
        duration: Float[Tensor, " rows"],
    ) -> Float[Tensor, ""]:
        """See `WatchTimeHead.loss`."""
        found = self.out(x).squeeze(1).sigmoid()
        target = self.encode(label, duration).to(found.dtype)
        if self.config.loss == "huber":
            return mean_of_rows(huber_loss(found, target, reduction="none", delta=_DELTA))
        return mean_of_rows((found - target).square())

    def forward(
        self, x: Float[Tensor, "rows dim"], duration: Float[Tensor, " rows"]
    ) -> Float[Tensor, " rows"]:
        """See `WatchTimeHead.forward`."""
        return self.decode(self.out(x).squeeze(1).sigmoid(), duration).to(x.dtype)

    def _interpolate(self, at: Tensor, duration: Tensor, known: Tensor, wanted: Tensor) -> Tensor:
        """``wanted`` where the group's ``known``, which ascend, are ``at``."""
        # Unknown ones, not a number among them, are 0 as in fitting.
        rounded = torch.where(duration > 0, duration, 0.0).float()
        group = torch.searchsorted(self.edges, rounded.to(self.edges))
        low, high = self.start[group], self.start[group + 1]
        at = at.to(known)
        # Binary search for the last known number not above, in all rows at once.
        first, last = low, high - 1
        for _ in range(max(int((self.start[1:] - self.start[:-1]).max()) - 1, 0).bit_length()):
            middle = (first + last + 1) // 2
            right = known[middle] <= at
            first, last = torch.where(right, middle, first), torch.where(right, last, middle - 1)
        after = torch.minimum(first + 1, high - 1)
        width = known[after] - known[first]
        share = ((at - known[first]) / torch.where(width > 0, width, 1.0)).clamp(0, 1)
        return wanted[first] + share * (wanted[after] - wanted[first])


def _table(label: Float64[ndarray, " rows"], knots: int) -> tuple[ndarray, ndarray]:
    """Distinct labels of a group, which come sorted, and the middle of their ranks over the number of rows."""
    values, count = np.unique(label, return_counts=True)
    ranks = (np.cumsum(count) - 0.5 * count) / len(label)
    if len(values) > knots:
        kept = np.linspace(0, len(values) - 1, knots).round().astype(np.int64)
        values, ranks = values[kept], ranks[kept]
    return values, ranks
