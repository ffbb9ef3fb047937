"""DNN: a perceptron on the vectors of all fields, side by side."""

from __future__ import annotations

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from usermodel.heads.ctr import CtrConfig, CtrModel
from usermodel.heads.row_inputs import RowBatch, RowInputs, RowShape
from usermodel.nn.mlp import Mlp


class DnnConfig(CtrConfig):
    """The perceptron.

    Attributes:
        hidden: Its widths.
        dropout: Between its layers.
    """

    hidden: tuple[int, ...] = (400, 400, 400)
    dropout: float = Field(default=0.0, ge=0, lt=1)

    def build(self, shape: RowShape) -> Dnn:
        """See `CtrConfig.build`."""
        return Dnn(self, shape)


class Dnn(CtrModel):
    """``z = w . mlp(e) + b`` with ``e`` the vectors of all fields."""

    def __init__(self, config: DnnConfig, shape: RowShape) -> None:
        super().__init__()
        self.inputs = RowInputs(shape, config.dim, config.init_std, config.table)
        self.mlp = Mlp(self.inputs.n_fields * config.dim, config.hidden, config.dropout)
        self.out = nn.Linear(self.mlp.dim, 1)

    def forward(self, rows: RowBatch) -> Float[Tensor, " rows"]:
        """See `CtrModel`."""
        found: Tensor = self.out(self.mlp(self.inputs(rows).flatten(1)))
        return found.squeeze(1)
