"""VR: watch time as a number to regress, by squared error, Huber's loss, or its logarithm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from jaxtyping import Float, Float64
from numpy import ndarray
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import huber_loss

from usermodel.heads.watch_time import WatchTimeConfig, WatchTimeHead, mean_of_rows, scalar


class ValueRegressionConfig(WatchTimeConfig):
    """What is regressed, and by which loss.

    Attributes:
        loss: ``mse``; ``huber`` with ``delta``; ``log`` is the squared error of ``log(1 + y)``, which looks at ratios.
        delta: Where Huber's loss turns linear, in standard deviations of the labels.
    """

    loss: Literal["mse", "huber", "log"] = "mse"
    delta: float = Field(default=1.0, gt=0)

    def statistics(
        self, label: Float64[ndarray, " rows"], duration: Float64[ndarray, " rows"]
    ) -> dict[str, Tensor]:
        """Mean and standard deviation of what is regressed."""
        del duration
        target = np.log1p(label) if self.loss == "log" else label
        return {"mean": scalar(float(target.mean())), "std": scalar(float(target.std()) or 1.0)}

    def build(self, dim: int, statistics: Mapping[str, Tensor]) -> ValueRegression:
        """See `WatchTimeConfig.build`."""
        return ValueRegression(self, dim, statistics)


class ValueRegression(WatchTimeHead):
    """``(y - mean) / std`` is regressed on ``w . x + b``; guesses are not below 0.

    The guess of ``log`` is ``exp(mean + std z) - 1``, nearer to the median than to the mean of what it is uncertain of.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: ValueRegressionConfig, dim: int, statistics: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.config = config
        for name in ("mean", "std"):
            self.register_buffer(name, statistics[name].float())
        self.out = nn.Linear(dim, 1)

    def loss(
        self,
        x: Float[Tensor, "rows dim"],
        label: Float[Tensor, " rows"],
        duration: Float[Tensor, " rows"],
    ) -> Float[Tensor, ""]:
        """See `WatchTimeHead.loss`."""
        del duration
        target = label.log1p() if self.config.loss == "log" else label
        target, found = (target - self.mean) / self.std, self.out(x).squeeze(1)
        if self.config.loss == "huber":
            return mean_of_rows(huber_loss(found, target, reduction="none", delta=self.config.delta))
        return mean_of_rows((found - target).square())

    def forward(
        self, x: Float[Tensor, "rows dim"], duration: Float[Tensor, " rows"]
    ) -> Float[Tensor, " rows"]:
        """See `WatchTimeHead.forward`."""
        del duration
        found: Tensor = self.mean + self.std * self.out(x).squeeze(1)
        return (found.expm1() if self.config.loss == "log" else found).clamp(min=0)
