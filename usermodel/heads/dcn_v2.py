"""DCN-V2: layers that multiply what they know with all fields again, beside a perceptron.

Source: Wang et al., "DCN V2: Improved Deep & Cross Network" (WWW 2021), equation 1 (full matrices) and the parallel structure.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from usermodel.heads.ctr import CtrConfig, CtrModel
from usermodel.heads.row_inputs import RowBatch, RowInputs, RowShape
from usermodel.nn.mlp import Mlp


class DcnV2Config(CtrConfig):
    """Both parts.

    Attributes:
        cross_layers: Layers of the cross network.
        hidden: Widths of the perceptron; empty leaves it out.
        dropout: Between its layers.
    """

    cross_layers: int = Field(default=3, ge=1)
    hidden: tuple[int, ...] = (400, 400, 400)
    dropout: float = Field(default=0.0, ge=0, lt=1)

    def build(self, shape: RowShape) -> DcnV2:
        """See `CtrConfig.build`."""
        return DcnV2(self, shape)


class DcnV2(CtrModel):
    """``x_l+1 = x_0 * (W_l x_l + b_l) + x_l``; ``z = w . [x_L, mlp(x_0)] + b``."""

    def __init__(self, config: DcnV2Config, shape: RowShape) -> None:
        super().__init__()
        self.inputs = RowInputs(shape, config.dim, config.init_std, config.table)
        width = self.inputs.n_fields * config.dim
        self.cross = nn.ModuleList(nn.Linear(width, width) for _ in range(config.cross_layers))
        self.mlp = Mlp(width, config.hidden, config.dropout) if config.hidden else None
        self.out = nn.Linear(width + (0 if self.mlp is None else self.mlp.dim), 1)

    def forward(self, rows: RowBatch) -> Float[Tensor, " rows"]:
        """See `CtrModel`."""
        first = self.inputs(rows).flatten(1)
        x = first
        for layer in self.cross:
            x = torch.addcmul(x, first, layer(x))
        if self.mlp is not None:
            x = torch.cat([x, self.mlp(first)], 1)
        found: Tensor = self.out(x)
        return found.squeeze(1)
