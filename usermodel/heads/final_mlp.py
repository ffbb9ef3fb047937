"""FinalMLP: two perceptrons that see the fields through different gates, and every product of their outputs.

Source: Mao et al., "FinalMLP: An Enhanced Two-Stream MLP Model for CTR Prediction" (AAAI 2023). Deviation: where no
field is named for a gate, the gate learns from a constant, as in the released code.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from usermodel.errors import ConfigError, nearest
from usermodel.heads.ctr import CtrConfig, CtrModel
from usermodel.heads.row_inputs import RowBatch, RowInputs, RowShape
from usermodel.nn.mlp import Mlp


class FinalMlpConfig(CtrConfig):
    """Two streams, their gates, and the fusion.

    Attributes:
        hidden: Widths of the first stream.
        other_hidden: Widths of the second.
        dropout: Between the layers of both.
        gates: Fields of categories or numbers that each stream's gate looks at; empty for one that looks at none. None leaves gates out.
        gate_hidden: Width of the gates.
        heads: Parts into which both outputs are cut; products are taken within a part.
    """

    hidden: tuple[int, ...] = (400,)
    other_hidden: tuple[int, ...] = (800,)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    gates: tuple[tuple[str, ...], tuple[str, ...]] | None = ((), ())
    gate_hidden: int = Field(default=800, ge=1)
    heads: int = Field(default=4, ge=1)

    @model_validator(mode="after")
    def _heads_divide(self) -> FinalMlpConfig:
        ends = [widths[-1] for widths in (self.hidden, self.other_hidden) if widths]
        if len(ends) < 2 or any(end % self.heads for end in ends):
            raise ValueError(f"two streams whose last widths heads={self.heads} divides, got {ends}")
        return self

    def build(self, shape: RowShape) -> FinalMlp:
        """See `CtrConfig.build`.

        Raises:
            ConfigError: A gate names a field that the rows lack.
        """
        return FinalMlp(self, shape)


class FinalMlp(CtrModel):
    """``z = sum over heads of (w_1 . o_1 + w_2 . o_2 + o_1^T W_3 o_2) + b`` with ``o_s = mlp_s(2 sigmoid(gate_s) * e)``."""

    def __init__(self, config: FinalMlpConfig, shape: RowShape) -> None:
        super().__init__()
        self.config = config
        self.inputs = RowInputs(shape, config.dim, config.init_std, config.table)
        width = self.inputs.n_fields * config.dim
        self.gates = nn.ModuleList(
            _Gate(shape, names, config, width) for names in (() if config.gates is None else config.gates)
        )
        self.one = Mlp(width, config.hidden, config.dropout)
        self.other = Mlp(width, config.other_hidden, config.dropout)
        self.of_one, self.of_other = nn.Linear(self.one.dim, 1), nn.Linear(self.other.dim, 1, bias=False)
        parts = self.one.dim // config.heads, self.other.dim // config.heads
        self.between = nn.Parameter(torch.empty(config.heads, *parts))
        nn.init.xavier_normal_(self.between)

    def forward(self, rows: RowBatch) -> Float[Tensor, " rows"]:
        """See `CtrModel`."""
        fields = self.inputs(rows)
        flat = fields.flatten(1)
        seen = [2 * gate(fields).sigmoid() * flat for gate in self.gates] or [flat, flat]
        one, other = self.one(seen[0]), self.other(seen[1])
        heads = self.config.heads
        products = torch.einsum(
            "rhi,hij,rhj->r", one.unflatten(1, (heads, -1)), self.between, other.unflatten(1, (heads, -1))
        )
        found: Tensor = self.of_one(one).squeeze(1) + self.of_other(other).squeeze(1) + products
        return found


class _Gate(nn.Module):
    """What a stream lets through, from some of the fields, or from a constant."""

    def __init__(self, shape: RowShape, names: Sequence[str], config: FinalMlpConfig, width: int) -> None:
        super().__init__()
        known = [*(name for name, _ in shape.fields), *shape.numbers]
        for name in names:
            if name not in known:
                do = nearest(name, known)
                raise ConfigError("gates", expected=", ".join(known), found=repr(name), do=do)
        self.places = [known.index(name) for name in names]
        self.constant = nn.Parameter(torch.randn(1, config.dim)) if not names else None
        self.mlp = Mlp(max(len(names), 1) * config.dim, (config.gate_hidden,))
        self.out = nn.Linear(config.gate_hidden, width)

    def forward(self, fields: Float[Tensor, "rows fields dim"]) -> Float[Tensor, "rows width"]:
        x = fields[:, self.places].flatten(1) if self.constant is None else self.constant
        found: Tensor = self.out(self.mlp(x))
        return found
