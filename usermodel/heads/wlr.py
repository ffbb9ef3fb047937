"""WLR: weighted logistic regression, whose odds are the expected watch time.

Source: Covington et al. (RecSys 2016), section 4.2. Deviations: every row is both a positive of weight t and a negative of weight 1, as
in public comparisons of watch-time heads, where the paper has clicked rows as the one and others as the other; t is divided by its mean, so that the odds are about 1 and the same step
sizes serve seconds and hours; the optimum is the same.
"""

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Float, Float64
from numpy import ndarray
from torch import Tensor, nn
from torch.nn.functional import softplus

from usermodel.heads.watch_time import WatchTimeConfig, WatchTimeHead, mean_of_rows, scalar


class WlrConfig(WatchTimeConfig):
    """Weighted logistic regression; no options."""

    def statistics(
        self, label: Float64[ndarray, " rows"], duration: Float64[ndarray, " rows"]
    ) -> dict[str, Tensor]:
        """The mean label."""
        del duration
        return {"mean": scalar(float(label.mean()))}

    def build(self, dim: int, statistics: Mapping[str, Tensor]) -> Wlr:
        """See `WatchTimeConfig.build`."""
        return Wlr(dim, statistics)


class Wlr(WatchTimeHead):
    """``L = -(t log p + log(1 - p))`` with ``p = sigmoid(w . x + b)`` and ``t = y / mean``; the guess is ``mean p / (1 - p)``.

    Over rows that cannot be told apart, the optimum of the guess is their mean.
    """

    mean: Tensor

    def __init__(self, dim: int, statistics: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.register_buffer("mean", statistics["mean"].float())
        self.out = nn.Linear(dim, 1)

    def loss(
        self,
        x: Float[Tensor, "rows dim"],
        label: Float[Tensor, " rows"],
        duration: Float[Tensor, " rows"],
    ) -> Float[Tensor, ""]:
        """See `WatchTimeHead.loss`."""
        del duration
        z = self.out(x).squeeze(1)
        return mean_of_rows(label / self.mean * softplus(-z) + softplus(z))

    def forward(
        self, x: Float[Tensor, "rows dim"], duration: Float[Tensor, " rows"]
    ) -> Float[Tensor, " rows"]:
        """See `WatchTimeHead.forward`."""
        del duration
        # Beyond exp(30) float32 is near its end, and no watch time is 10^13 times the mean.
        odds: Tensor = self.out(x).squeeze(1).clamp(max=30.0).exp()
        return self.mean * odds
