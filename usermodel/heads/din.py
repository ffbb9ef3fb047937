"""DIN: what a user did before, weighted by how much each item has to do with the one that is shown.

Source: Zhou et al., "Deep Interest Network for Click-Through Rate Prediction" (KDD 2018), equation 3; the weights are not normalised.
Deviations: rectifiers in place of Dice, and the difference and product of two items in place of their outer product, as in the released
code.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from usermodel.heads.ctr import CtrConfig, CtrModel
from usermodel.heads.row_inputs import RowBatch, RowInputs, RowShape
from usermodel.nn.mlp import Mlp


class DinConfig(CtrConfig):
    """Attention and perceptron.

    Attributes:
        attention: Widths of the network that weighs an event.
        hidden: Widths of the perceptron.
        dropout: Between its layers.
    """

    attention: tuple[int, ...] = (64,)
    hidden: tuple[int, ...] = (400, 400, 400)
    dropout: float = Field(default=0.0, ge=0, lt=1)

    def build(self, shape: RowShape) -> Din:
        """See `CtrConfig.build`.

        Raises:
            ConfigError: Rows without histories.
        """
        return Din(self, shape)


class Din(CtrModel):
    """``z = w . mlp([e, sum over events j of a(e_j, v) e_j]) + b`` with ``a(e, v) = w . mlp([e, v, e - v, e * v]) + b``."""

    def __init__(self, config: DinConfig, shape: RowShape) -> None:
        super().__init__()
        self.candidate = shape.history_field
        self.inputs = RowInputs(shape, config.dim, config.init_std, config.table)
        self.attention = Mlp(4 * config.dim, config.attention)
        self.weight = nn.Linear(self.attention.dim, 1)
        self.mlp = Mlp((self.inputs.n_fields + 1) * config.dim, config.hidden, config.dropout)
        self.out = nn.Linear(self.mlp.dim, 1)

    def forward(self, rows: RowBatch) -> Float[Tensor, " rows"]:
        """See `CtrModel`."""
        fields = self.inputs(rows)
        codes, owner, _ = rows.past().laid_out()
        events, shown = self.inputs.of_history(codes), fields[:, self.candidate][owner]
        weight = self.weight(self.attention(torch.cat([events, shown, events - shown, events * shown], 1)))
        interest = torch.zeros_like(fields[:, 0]).index_add(0, owner, weight * events)
        found: Tensor = self.out(self.mlp(torch.cat([fields.flatten(1), interest], 1)))
        return found.squeeze(1)
