"""Wide & Deep: what a single field says, and a perceptron on all of them.

Source: Cheng et al., "Wide & Deep Learning for Recommender Systems" (DLRS 2016). Deviation: no hand-made crossed features.
"""

from __future__ import annotations

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from usermodel.heads.ctr import CtrConfig, CtrModel, LinearTerm
from usermodel.heads.dnn import DnnConfig
from usermodel.heads.row_inputs import RowBatch, RowShape


class WideDeepConfig(CtrConfig):
    """The deep part.

    Attributes:
        hidden: Widths of its perceptron.
        dropout: Between its layers.
    """

    hidden: tuple[int, ...] = (400, 400, 400)
    dropout: float = Field(default=0.0, ge=0, lt=1)

    def build(self, shape: RowShape) -> WideDeep:
        """See `CtrConfig.build`."""
        return WideDeep(self, shape)


class WideDeep(CtrModel):
    """``z = linear + dnn``."""

    def __init__(self, config: WideDeepConfig, shape: RowShape) -> None:
        super().__init__()
        deep = DnnConfig(dim=config.dim, table=config.table, hidden=config.hidden, dropout=config.dropout)
        self.wide, self.deep = LinearTerm(shape, config.table), deep.build(shape)

    def forward(self, rows: RowBatch) -> Float[Tensor, " rows"]:
        """See `CtrModel`."""
        found: Tensor = self.wide(rows) + self.deep(rows)
        return found
