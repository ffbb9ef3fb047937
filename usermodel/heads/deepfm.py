"""DeepFM: a factorisation machine and a perceptron on the same vectors.

Source: Guo et al., "DeepFM: A Factorization-Machine based Neural Network for CTR Prediction" (IJCAI 2017), equations 1 to 4.
"""

from __future__ import annotations

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
            RowInputs(shape, config.dim, table=config.table),
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
    return 0.5 * (fields.sum(1).square() - fields.square().sum(1)).sum(1)
