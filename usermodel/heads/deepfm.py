"""DeepFM: a factorisation machine and a perceptron on the same vectors.

Source: Guo et al., "DeepFM: A Factorization-Machine based Neural Network for CTR Prediction" (IJCAI 2017), equations 1 to 4.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from usermodel.heads.ctr import CtrConfig, CtrModel, LinearTerm
from usermodel.heads.row_inputs import RowBatch, RowInputs, RowShape
from usermodel.nn.mlp import Mlp


class DeepfmConfig(CtrConfig):
    """The perceptron.

    Attributes:
        hidden: Its widths.
        dropout: Between its layers.
    """

    hidden: tuple[int, ...] = (400, 400, 400)
    dropout: float = Field(default=0.0, ge=0, lt=1)

    def build(self, shape: RowShape) -> Deepfm:
        """See `CtrConfig.build`."""
        return Deepfm(self, shape)


class Deepfm(CtrModel):
    """``z = linear + sum over pairs of fields of e_i . e_j + w . mlp(e) + b``."""

    def __init__(self, config: DeepfmConfig, shape: RowShape) -> None:
        super().__init__()
        self.linear, self.inputs = (
            LinearTerm(shape, config.table),
            RowInputs(shape, config.dim, config.init_std, config.table),
        )
        self.mlp = Mlp(self.inputs.n_fields * config.dim, config.hidden, config.dropout)
        self.out = nn.Linear(self.mlp.dim, 1)

    def forward(self, rows: RowBatch) -> Float[Tensor, " rows"]:
        """See `CtrModel`."""
        fields = self.inputs(rows)
        deep: Tensor = self.out(self.mlp(fields.flatten(1)))
        found: Tensor = self.linear(rows) + pairs(fields) + deep.squeeze(1)
        return found


def pairs(fields: Float[Tensor, "rows fields dim"]) -> Float[Tensor, " rows"]:
    """Sum of the inner products of all pairs of fields: half of (square of the sum minus sum of the squares)."""
    found: Tensor = _Pairs.apply(fields)  # type: ignore[no-untyped-call]
    return found


class _Pairs(torch.autograd.Function):
    """By hand, because the fields are most of a step's memory: they are read twice here, and six times otherwise."""

    @staticmethod
    def forward(ctx: Any, fields: Tensor) -> Tensor:
        total = fields.sum(1)
        ctx.save_for_backward(fields, total)
        squares = torch.linalg.vector_norm(fields.flatten(1), dim=1).square()
        found: Tensor = 0.5 * (total.square().sum(1) - squares)
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        """Of ``e_i``: the sum of the others."""
        fields, total = ctx.saved_tensors
        out: Tensor = (total[:, None] - fields).mul_(grads[0][:, None, None])
        return out
