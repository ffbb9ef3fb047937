"""LR: logistic regression on categories, numbers and the user's vector."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from usermodel.heads.ctr import CtrConfig, CtrModel, LinearTerm
from usermodel.heads.row_inputs import RowBatch, RowShape


class LogisticRegressionConfig(CtrConfig):
    """Logistic regression.

    Attributes:
        dim: A weight for each category; nothing else is possible.
    """

    dim: Literal[1] = 1

    def build(self, shape: RowShape) -> LogisticRegression:
        """See `CtrConfig.build`."""
        return LogisticRegression(self, shape)


class LogisticRegression(CtrModel):
    """``z = sum over fields of w + b``."""

    def __init__(self, config: LogisticRegressionConfig, shape: RowShape) -> None:
        super().__init__()
        self.linear = LinearTerm(shape, config.table)

    def forward(self, rows: RowBatch) -> Float[Tensor, " rows"]:
        """See `CtrModel`."""
        found: Tensor = self.linear(rows)
        return found
