"""CREAD: watch time as answers to "longer than t_m?" for thresholds that balance two errors of cutting time into bins.

Source: Sun et al., "CREAD: A Classification-Restoration Framework with Error Adaptive Discretization for Watch Time Prediction in
Video Recommender Systems" (AAAI 2024). Deviation: Huber's loss is of labels over their standard deviation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy import ndarray
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, huber_loss

from usermodel.heads.watch_time import WatchTimeConfig, WatchTimeHead, mean_of_rows, scalar

#: What alpha is chosen from, and the weight of the second error.
ALPHAS: Final = np.arange(0.001, 5.0, 0.1)
_RESTORATION: Final = 50.0


class CreadConfig(WatchTimeConfig):
    """Thresholds, and the weights of the loss.

    Attributes:
        bins: M, thresholds.
        alpha: How much closer short thresholds stand than equal shares of the rows would have it; None chooses it by the errors.
        error: Weight of Huber's loss of the guess.
        order: Weight of the penalty on answers that contradict each other: longer than t_m+1 likelier than longer than t_m.
    """

    bins: int = Field(default=50, ge=1)
    alpha: float | None = Field(default=None, gt=0)
    error: float = Field(default=1.0, ge=0)
    order: float = Field(default=2e-5, ge=0)

    def statistics(
        self, label: Float64[ndarray, " rows"], duration: Float64[ndarray, " rows"]
    ) -> dict[str, Tensor]:
        """``thresholds`` 0 = t_0 to t_M, the largest label, and the standard deviation of the labels."""
        del duration
        ordered = np.sort(label)
        alpha = choose_alpha(ordered, self.bins) if self.alpha is None else self.alpha
        thresholds, _ = cut(ordered, self.bins, alpha)
        return {"thresholds": torch.from_numpy(thresholds), "std": scalar(float(label.std()) or 1.0)}

    def build(self, dim: int, statistics: Mapping[str, Tensor]) -> Cread:
        """See `WatchTimeConfig.build`."""
        return Cread(self, dim, statistics)


class Cread(WatchTimeHead):
    """``p_m = sigmoid(w_m . x + b_m)`` stands for P(y > t_m); the guess is ``sum over m of p_m (t_m - t_m-1)``, m = 1 to M.

    ``L = mean BCE + error Huber(guess, y) + order sum max(p_m+1 - p_m, 0)``.
    """

    thresholds: Tensor
    std: Tensor

    def __init__(self, config: CreadConfig, dim: int, statistics: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.config = config
        for name in ("thresholds", "std"):
            self.register_buffer(name, statistics[name].float())
        self.out = nn.Linear(dim, config.bins)

    def encode(self, label: Float[Tensor, " rows"]) -> Float[Tensor, "rows bins"]:
        """1 where a label is longer than t_1, ..., t_M."""
        return (label[:, None] > self.thresholds[1:]).float()

    def decode(self, longer: Float[Tensor, "rows bins"]) -> Float[Tensor, " rows"]:
        """The expected watch time of probabilities; of hard answers the last threshold that is not above the label."""
        return longer @ self.thresholds.diff()

    def loss(
        self,
        x: Float[Tensor, "rows dim"],
        label: Float[Tensor, " rows"],
        duration: Float[Tensor, " rows"],
    ) -> Float[Tensor, ""]:
        """See `WatchTimeHead.loss`."""
        del duration
        z = self.out(x)
        answers = binary_cross_entropy_with_logits(z, self.encode(label), reduction="none").mean(1)
        p = z.sigmoid()
        error = huber_loss(self.decode(p) / self.std, label / self.std, reduction="none")
        contradictions = (p[:, 1:] - p[:, :-1]).clamp(min=0).sum(1)
        return mean_of_rows(answers + self.config.error * error + self.config.order * contradictions)

    def forward(
        self, x: Float[Tensor, "rows dim"], duration: Float[Tensor, " rows"]
    ) -> Float[Tensor, " rows"]:
        """See `WatchTimeHead.forward`."""
        del duration
        return self.decode(self.out(x).sigmoid())


def cut(ordered: Float64[ndarray, " rows"], bins: int, alpha: float) -> tuple[ndarray, ndarray]:
    """Thresholds ``t_m``, the ``g(m / M)``-quantiles with ``g(z) = (1 - exp(-alpha z)) / (1 - exp(-alpha))``, and shares of rows.

    ``t_0`` is 0, so that guesses begin there.
    """
    share = np.expm1(-alpha * np.arange(bins + 1) / bins) / np.expm1(-alpha)
    place = np.round(share * (len(ordered) - 1)).astype(np.int64)
    thresholds = ordered[place].astype(np.float64)
    thresholds[0] = 0.0
    return thresholds, share


def choose_alpha(ordered: Float64[ndarray, " rows"], bins: int) -> float:
    """The one of `ALPHAS` with the least sum of the error of learning the answers and of restoring times from bins.

    With shares ``dF`` of rows and widths ``dt`` of bins: ``sum dF^2 sum dt^2 / dF + 50 sum dF^2 sum dt^2``.
    """

    def errors(alpha: float) -> float:
        thresholds, share = cut(ordered, bins, alpha)
        width, of_rows = np.diff(thresholds) ** 2, np.diff(share)
        squares = (of_rows**2).sum()
        return float(squares * (width / of_rows).sum() + _RESTORATION * squares * width.sum())

    return float(min(ALPHAS, key=errors))
