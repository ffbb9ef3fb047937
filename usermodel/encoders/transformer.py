"""Transformer user encoder: SASRec, BERT4Rec and AdaptSSR's encoder are configurations of it.

SASRec (Kang & McAuley 2018): causal, post-norm, learned positions counted from the end, last read-out, tied item table.
BERT4Rec (Sun et al. 2019): bidirectional. AdaptSSR (Yu et al. 2023): bidirectional, attention read-out, positions from
the start. The default, a learned bias per head and distance instead of absolute positions, lets one pass over a whole
history train every prefix: what an event means does not depend on where the slice began or ended.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int64
from pydantic import Field, model_validator
from torch import Tensor, nn

from usermodel.batch import JaggedBatch
from usermodel.encoders.protocol import Encoded, EncoderConfig, EncoderModule
from usermodel.nn.attention import SelfAttention
from usermodel.nn.blocks import Block, FeedForward, NormPlace
from usermodel.nn.pooling import Pooling, Readout
from usermodel.nn.ragged import Layout

Positions = Literal["relative", "from_end", "from_start", "none"]


class TransformerConfig(EncoderConfig):
    """Shape of a `Transformer`.

    Attributes:
        max_history: Events read of a history, the latest ones.
        dim: Width of every vector.
        layers: Number of blocks.
        heads: Attention heads; divides ``dim``.
        hidden: Inner width of the feed-forward part.
        causal: An event sees only earlier ones; ``False`` lets it see all.
        norm: LayerNorm after the residual sum (``post``) or before each part (``pre``, with one more at the end).
        positions: ``relative`` learns a bias per head and distance; ``from_end`` and ``from_start`` learn a vector per
            place, 0 = newest or oldest event of the slice. With ``from_end`` the vector of an early event depends on how
            many follow it in the slice.
        readout: How events become the user's vector.
        dropout: On the input and on the output of each part.
        attention_dropout: On the attention probabilities.
        init_std: Standard deviation of initial weights.
    """

    dim: int = Field(default=64, ge=1)
    max_history: int = Field(default=50, ge=1)
    layers: int = Field(default=2, ge=1)
    heads: int = Field(default=2, ge=1)
    hidden: int = Field(default=256, ge=1)
    causal: bool = True
    norm: NormPlace = "post"
    positions: Positions = "relative"
    readout: Readout = "last"
    dropout: float = Field(default=0.2, ge=0, lt=1)
    attention_dropout: float = Field(default=0.0, ge=0, lt=1)
    init_std: float = Field(default=0.02, gt=0)

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> TransformerConfig:
        if self.dim % self.heads:
            raise ValueError(f"heads to divide dim, got dim={self.dim} and heads={self.heads}")
        return self

    def build(self, n_items: int) -> Transformer:
        """A `Transformer` with random weights."""
        return Transformer(self, n_items)


class Transformer(EncoderModule):
    """Item embedding plus position, blocks, read-out; the item table scores as well as it embeds (tied)."""

    def __init__(self, config: TransformerConfig, n_items: int) -> None:
        super().__init__()
        self.n_items, self.dim, self.max_history = n_items, config.dim, config.max_history
        self.causal, self.positions = config.causal, config.positions
        self.items = nn.Embedding(n_items + 1, config.dim, padding_idx=0)
        absolute = config.positions in {"from_end", "from_start"}
        self.places = nn.Embedding(config.max_history, config.dim) if absolute else None
        self.norm_in = nn.LayerNorm(config.dim, eps=1e-12)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(_block(config) for _ in range(config.layers))
        self.norm_out = nn.LayerNorm(config.dim, eps=1e-12) if config.norm == "pre" else nn.Identity()
        self.pooling = Pooling(config.readout, config.dim)
        self._initialise(config.init_std)

    def _initialise(self, std: float) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=std)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
        with torch.no_grad():
            self.items.weight[0].zero_()

    def item_vectors(self, index: Int64[Tensor, " n"] | None = None) -> Float[Tensor, "n dim"]:
        """Rows of the item table."""
        if index is None:
            return self.items.weight[1:]
        out: Tensor = self.items(index)
        return out

    def forward(self, batch: JaggedBatch) -> Encoded:
        """Encode the slices of a batch; a slice longer than ``max_history`` is an error of the caller."""
        x = self.items(batch.item_index)
        if self.places is not None:
            x = x + self.places(self._place(batch))
        x = self.dropout(self.norm_in(x))
        layout = Layout.of(batch.offsets)
        for block in self.blocks:
            x = block(x, layout)
        x = self.norm_out(x)
        return Encoded(x, self.pooling(x, batch.offsets))

    def _place(self, batch: JaggedBatch) -> Int64[Tensor, " events"]:
        if self.positions == "from_start":
            return batch.position
        return batch.lengths[batch.user_of_event] - 1 - batch.position


def _block(config: TransformerConfig) -> Block:
    distance = config.max_history if config.positions == "relative" else 0
    attention = SelfAttention(
        config.dim,
        config.heads,
        causal=config.causal,
        dropout=config.attention_dropout,
        max_distance=distance,
    )
    return Block(
        attention,
        FeedForward(config.dim, config.hidden),
        dim=config.dim,
        norm=config.norm,
        dropout=config.dropout,
    )
