"""Target attention: the shown item asks the history, by a transformer block with one query.

Source: the block of Vaswani et al. 2017 (arXiv:1706.03762) with the candidate as the query, as in Chen et al., "Behavior Sequence
Transformer" (DLP-KDD 2019), whose block also lets events ask each other. Deviation from both: one query, so the cost is linear in the
history; norms stand before their parts.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from pydantic import Field, model_validator
from torch import Tensor, nn

from usermodel.heads.ctr import CtrConfig, CtrModel
from usermodel.heads.row_inputs import RowBatch, RowInputs, RowShape
from usermodel.nn.mlp import Mlp


class TargetAttentionConfig(CtrConfig):
    """Block and perceptron.

    Attributes:
        heads: Heads of attention.
        positions: Distances from the end that have vectors of their own; farther events have that of the last.
        hidden: Widths of the perceptron.
        dropout: Between its layers.
    """

    heads: int = Field(default=2, ge=1)
    positions: int = Field(default=50, ge=1)
    hidden: tuple[int, ...] = (400, 400, 400)
    dropout: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _heads_divide(self) -> TargetAttentionConfig:
        if self.dim % self.heads:
            raise ValueError(f"dim divisible by heads, got dim={self.dim} and heads={self.heads}")
        return self

    def build(self, shape: RowShape) -> TargetAttention:
        """See `CtrConfig.build`.

        Raises:
            ConfigError: Rows without histories.
        """
        return TargetAttention(self, shape)


class TargetAttention(CtrModel):
    """``h = v + attention(norm v, norm(e_j + p_j))``, ``h = h + ffn(norm h)``, ``z = w . mlp([e, h]) + b``.

    A row without history has ``h = v`` after the first part.
    """

    def __init__(self, config: TargetAttentionConfig, shape: RowShape) -> None:
        super().__init__()
        dim, self.heads, self.positions = config.dim, config.heads, config.positions
        self.candidate = shape.history_field
        self.inputs = RowInputs(shape, dim, config.init_std, config.table)
        self.position = nn.Embedding(config.positions, dim)
        nn.init.normal_(self.position.weight, std=0.05)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(3))
        self.query, self.out_of_heads = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.feed_forward = nn.Sequential(nn.Linear(dim, 4 * dim), nn.ReLU(), nn.Linear(4 * dim, dim))
        self.mlp = Mlp((self.inputs.n_fields + 1) * dim, config.hidden, config.dropout)
        self.out = nn.Linear(self.mlp.dim, 1)

    def forward(self, rows: RowBatch) -> Float[Tensor, " rows"]:
        """See `CtrModel`."""
        fields = self.inputs(rows)
        codes, owner, distance = rows.past().laid_out()
        events = self.inputs.of_history(codes) + self.position(distance.clamp(max=self.positions - 1))
        shown = fields[:, self.candidate]
        keys, values = self.key_value(self.norms[1](events)).unflatten(1, (2, self.heads, -1)).unbind(1)
        queries = self.query(self.norms[0](shown)).unflatten(1, (self.heads, -1))
        found = shown + self.out_of_heads(attend(queries, keys, values, owner).flatten(1)) * _some(
            owner, shown
        )
        found = found + self.feed_forward(self.norms[2](found))
        z: Tensor = self.out(self.mlp(torch.cat([fields.flatten(1), found], 1)))
        return z.squeeze(1)


def attend(
    queries: Float[Tensor, "rows heads width"],
    keys: Float[Tensor, "inputs heads width"],
    values: Float[Tensor, "inputs heads width"],
    owner: Int64[Tensor, " inputs"],
) -> Float[Tensor, "rows heads width"]:
    """Softmax attention of one query a row over the row's own events; zeros for a row without any."""
    scores = (queries[owner] * keys).sum(2) / keys.shape[2] ** 0.5
    index = owner[:, None].expand_as(scores)
    # Without the largest score of the row, exponentials stay finite; its gradient cancels out.
    largest = (
        scores.detach()
        .new_full(queries.shape[:2], -torch.inf)
        .scatter_reduce(0, index, scores.detach(), "amax")
    )
    weight = (scores - largest[owner]).exp()
    total = torch.zeros_like(weight.new_zeros(queries.shape[:2])).index_add(0, owner, weight)
    weight = weight / total[owner]
    return torch.zeros_like(queries).index_add(0, owner, weight[:, :, None] * values)


def _some(owner: Int64[Tensor, " inputs"], like: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows 1"]:
    """1 for rows with a history: the bias behind the heads is no answer of nobody."""
    found = like.new_zeros(len(like), 1)
    found[owner] = 1.0
    return found
