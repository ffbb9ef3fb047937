"""From what is known of rows to watch times: vectors of categories, a perceptron, and one of the watch-time heads."""

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Float, Float64
from numpy import ndarray
from pydantic import Field, SerializeAsAny
from torch import Tensor, nn

from usermodel.config import Config
from usermodel.heads.row_inputs import RowBatch, RowInputs, RowShape
from usermodel.heads.value_regression import ValueRegressionConfig
from usermodel.heads.watch_time import WatchTimeConfig, WatchTimeHead
from usermodel.nn.c_mixup import partners, shares
from usermodel.nn.mlp import Mlp


class CMixupConfig(Config):
    """Mixing of hidden vectors, see `usermodel.nn.c_mixup`.

    Attributes:
        sigma: How far labels of a pair are apart, in ``log(1 + y)``.
        alpha: Of the Beta distribution of shares.
    """

    sigma: float = Field(default=0.5, gt=0)
    alpha: float = Field(default=2.0, gt=0)


class WatchTimeModelConfig(Config):
    """The model; sizes are those that the released code of DADF (Yang et al. 2026, arXiv) compares heads with.

    Attributes:
        head: Which one, and its options.
        dim: Width of a category's vector.
        hidden: Widths of the perceptron.
        dropout: Of the perceptron.
        mixup: C-Mixup of what goes into the head; None leaves it out.
    """

    head: SerializeAsAny[WatchTimeConfig] = ValueRegressionConfig()
    dim: int = Field(default=16, ge=1)
    hidden: tuple[int, ...] = (256, 128, 64)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    mixup: CMixupConfig | None = None

    def fit(
        self, shape: RowShape, label: Float64[ndarray, " rows"], duration: Float64[ndarray, " rows"]
    ) -> WatchTimeModel:
        """A model with new weights, whose head knows the labels of training rows.

        Raises:
            DataError: See `WatchTimeConfig.fit`.
        """
        return WatchTimeModel(self, shape, self.head.fit(self._head_dim(shape), label, duration))

    def build(self, shape: RowShape, statistics: Mapping[str, Tensor]) -> WatchTimeModel:
        """A model with new weights, whose head knows saved statistics of labels."""
        return WatchTimeModel(self, shape, self.head.build(self._head_dim(shape), statistics))

    def _head_dim(self, shape: RowShape) -> int:
        return self.hidden[-1] if self.hidden else shape.n_fields(self.dim) * self.dim


class WatchTimeModel(nn.Module):
    """Rows in, watch times out."""

    def __init__(self, config: WatchTimeModelConfig, shape: RowShape, head: WatchTimeHead) -> None:
        super().__init__()
        self.config, self.head = config, head
        self.inputs = RowInputs(shape, config.dim)
        self.mlp = Mlp(shape.n_fields(config.dim) * config.dim, config.hidden, config.dropout)

    def loss(
        self, rows: RowBatch, label: Float[Tensor, " rows"], duration: Float[Tensor, " rows"]
    ) -> Float[Tensor, ""]:
        """Mean over the rows; of mixed ones in training, where the configuration says so."""
        x, mixup = self.mlp(self.inputs(rows).flatten(1)), self.config.mixup
        if mixup is not None and self.training:
            partner = partners(label.log1p(), mixup.sigma)
            share = shares(len(x), mixup.alpha, x)
            x = share[:, None] * x + (1 - share[:, None]) * x[partner]
            label = self.head.mixed(label, duration, partner, share)
        return self.head.loss(x, label, duration)

    def forward(self, rows: RowBatch, duration: Float[Tensor, " rows"]) -> Float[Tensor, " rows"]:
        """Guesses, in the unit of the labels."""
        found: Tensor = self.head(self.mlp(self.inputs(rows).flatten(1)), duration)
        return found
