"""Transformer user encoder: SASRec, BERT4Rec, AdaptSSR's encoder and eSASRec are configurations of it.

SASRec (Kang & McAuley 2018): causal, post-norm, learned positions counted from the end, last read-out, tied item table.
BERT4Rec (Sun et al. 2019): bidirectional, ``mask`` read-out. AdaptSSR (Yu et al. 2023): bidirectional, attention
read-out, positions from the start. eSASRec (RecTools): pre-norm, ``swiglu``, gated residuals, positions from the end; deviations: a norm on the input
and one at the end. HSTU's time bias (Zhai et al. 2024) goes with any of these; its attention without softmax does not. The default, a learned bias per head and distance instead of absolute positions, lets one pass over a whole
history train every prefix: what an event means does not depend on where the slice began or ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, Literal, cast

import torch
from jaxtyping import Float, Int64
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import embedding

from usermodel.batch import JaggedBatch
from usermodel.encoders.catalogue import (
    Catalogue,
    read_catalogue,
    require_clock,
    require_columns,
    require_given,
)
from usermodel.encoders.protocol import Encoded, EncoderConfig, EncoderModule, new_mask_token
from usermodel.nn.attention import SelfAttention
from usermodel.nn.blocks import Activation, Block, FeedForward, NormPlace, Residual
from usermodel.nn.buckets import MOST_BUCKETS
from usermodel.nn.dropout import Dropout
from usermodel.nn.initial import initialise
from usermodel.nn.inputs import EventInputs, InputsConfig
from usermodel.nn.item_features import ItemFeatures
from usermodel.nn.item_table import ItemsConfig, ItemTable, PlainItemsConfig, require_known
from usermodel.nn.mask_behind import mask_behind, mask_behind_padded
from usermodel.nn.norms import NormKind, make_norm
from usermodel.nn.padded import PaddedBatch, pool
from usermodel.nn.pooling import Pooling, Readout
from usermodel.nn.positions import Positions, time_buckets
from usermodel.nn.ragged import Layout
from usermodel.store.sequence_store import SequenceStore
from usermodel.store.sequences import Sequences

#: So many events to encode for each item make a table of items worth its time and memory.
_EVENTS_AN_ITEM: Final = 4


class TransformerConfig(EncoderConfig):
    """Shape of a `Transformer`.

    Attributes:
        max_history: Events read of a history, the latest ones.
        dim: Width of every vector.
        layers: Number of blocks.
        heads: Attention heads; divides ``dim``.
        hidden: Inner width of the feed-forward part.
        causal: An event sees only earlier ones; ``False`` lets it see all.
        norm: After the residual sum (``post``) or before each part (``pre``, with one more at the end).
        norm_kind: LayerNorm (``layer``) or RMSNorm (``rms``).
        feed_forward: ``gelu`` or ``swiglu``, which has a third matrix.
        residual: ``plain``, or ``gated``: the output of each part times a sigmoid gate.
        positions: ``relative`` learns a bias per head and distance; ``rotary`` turns queries and keys by their place;
            ``from_end`` and ``from_start`` learn a vector per place, 0 = newest or oldest event of the slice. With
            ``from_end`` the vector of an early event depends on how many follow it in the slice.
        time_bias_buckets: Buckets of a learned bias per head and time difference, on top of the positions; 0 = none. See
            `log_buckets`: 64 reach seven years.
        items: Item table: ``plain``, or ``hashed`` for catalogues that do not fit.
        inputs: What is read beside items and times.
        readout: How events become the user's vector; ``mask`` puts the mask token behind a history, for this vector alone, and
            reads there. See `usermodel.nn.mask_behind`.
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
    norm_kind: NormKind = "layer"
    feed_forward: Activation = "gelu"
    residual: Residual = "plain"
    positions: Positions = "relative"
    time_bias_buckets: int = Field(default=0, ge=0, le=MOST_BUCKETS)
    items: ItemsConfig = PlainItemsConfig()
    inputs: InputsConfig = InputsConfig()
    readout: Literal[Readout, "mask"] = "last"
    dropout: float = Field(default=0.2, ge=0, lt=1)
    attention_dropout: float = Field(default=0.0, ge=0, lt=1)
    init_std: float = Field(default=0.02, gt=0)

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> TransformerConfig:
        if self.dim % self.heads:
            raise ValueError(f"heads to divide dim, got dim={self.dim} and heads={self.heads}")
        if self.positions == "rotary" and self.dim // self.heads % 2:
            raise ValueError(f"an even dim / heads for rotary positions, got {self.dim // self.heads}")
        return self

    @property
    def reads_clock(self) -> bool:
        """See `EncoderConfig.reads_clock`."""
        return bool(self.time_bias_buckets or self.inputs.time_gap_buckets)

    def build(self, n_items: int) -> Transformer:
        """A `Transformer` with random weights, that reads items and times only."""
        return self.build_for(Catalogue(n_items))

    def build_for(self, catalogue: Catalogue) -> Transformer:
        """A `Transformer` with random weights.

        Raises:
            ConfigError: The catalogue lacks what ``inputs`` name, or an option has nothing to act on.
        """
        require_given(self.inputs, catalogue)
        return Transformer(self, catalogue)

    def catalogue(self, store: SequenceStore) -> Catalogue:
        """See `EncoderConfig.catalogue`; reads the items table where ``inputs`` name its columns."""
        self.require(store)
        return read_catalogue(store, self.inputs)

    def require(self, store: Sequences) -> None:
        """See `EncoderConfig.require`."""
        require_columns(store, self.inputs)
        if self.time_bias_buckets:
            require_clock(store, "encoder.time_bias_buckets")


class Transformer(EncoderModule):
    """Item embedding plus inputs and position, blocks, read-out; the item table scores as well as it embeds (tied)."""

    def __init__(self, config: TransformerConfig, catalogue: Catalogue) -> None:
        super().__init__()
        n_items, inputs = catalogue.n_items, config.inputs
        self.n_items, self.dim, self.max_history = n_items, config.dim, config.max_history
        self.causal, self.positions, self.n_depths = config.causal, config.positions, config.layers
        self._catalogue, self._n_time_buckets = catalogue.shapes(), config.time_bias_buckets
        self.items = ItemTable(n_items, config.dim, config.items)
        features = catalogue.item_features
        self.item_features = ItemFeatures(features, n_items, config.dim) if features else None
        self._score_features = inputs.score_item_features
        n_types = len(catalogue.event_types)
        self.inputs = EventInputs(inputs, config.dim, n_types) if inputs.any_of_events else None
        absolute = config.positions in {"from_end", "from_start"}
        self.reads_mask = config.readout == "mask"
        self.places = nn.Embedding(config.max_history + self.reads_mask, config.dim) if absolute else None
        self.norm_in = make_norm(config.norm_kind, config.dim)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(_block(config) for _ in range(config.layers))
        self.norm_out = make_norm(config.norm_kind, config.dim) if config.norm == "pre" else nn.Identity()
        self.pooling = Pooling("last" if config.readout == "mask" else config.readout, config.dim)
        initialise(self, config.init_std)
        self.mask_token = new_mask_token(config.mask_token, config.dim, config.init_std)
        if self.reads_mask:
            self.require_mask_token()

    def catalogue(self) -> Catalogue:
        """See `EncoderModule.catalogue`."""
        return self._catalogue

    def scored_features(self) -> ItemFeatures | None:
        """See `EncoderModule.scored_features`."""
        return self.item_features if self._score_features else None

    def forward(self, batch: JaggedBatch) -> Encoded:
        """Encode the slices of a batch; a slice longer than ``max_history`` is an error of the caller."""
        behind = self._behind(batch)
        last = self.events(behind)
        return Encoded(self.events(batch) if self.reads_mask else last, self.pooling(last, behind.offsets))

    def events(self, batch: JaggedBatch) -> Float[Tensor, "events dim"]:
        """See `EncoderModule.events`."""
        return self._events(batch, Layout.of(batch.offsets))

    def depths(self, batch: JaggedBatch) -> list[Encoded]:
        """See `EncoderModule.depths`; a norm at the end is that of all depths."""
        behind = self._behind(batch)
        last = [self.norm_out(x) for x in self._layers(behind, Layout.of(behind.offsets))]
        layers = self._layers(batch, Layout.of(batch.offsets)) if self.reads_mask else ()
        events = [self.norm_out(x) for x in layers] or last
        return [Encoded(x, self.pooling(y, behind.offsets)) for x, y in zip(events, last, strict=True)]

    def padded(self, batch: PaddedBatch) -> Float[Tensor, "users dim"]:
        """See `EncoderModule.padded`."""
        batch = mask_behind_padded(batch) if self.reads_mask else batch
        return pool(self.pooling, self._events(batch, batch.layout), batch)

    def users_of_many(self, n_events: int) -> Callable[[JaggedBatch], Float[Tensor, "users dim"]]:
        """See `EncoderModule.users_of_many`: a table of what the first layer makes of each item, if events are more."""
        more = self.item_features or self.inputs or self.places or self.reads_mask
        if self.training or more or len(self.blocks) < 2 or n_events < _EVENTS_AN_ITEM * self.n_items:
            return self.users
        index = torch.arange(self.n_items + 1, device=self.items.weight.device)
        x = self.norm_in(self.items(index))
        return partial(self.users, table=torch.cat([x, self._stack[0].qkv(x)], dim=1))

    def users(
        self, batch: JaggedBatch, table: Float[Tensor, "indices width"] | None = None
    ) -> Float[Tensor, "users dim"]:
        """See `EncoderModule.users`: where the last event is read, the last layer computes no other."""
        batch = self._behind(batch)
        if self.training or self.pooling.readout != "last" or not batch.n_events:
            pooled: Tensor = self.pooling(self.events(batch), batch.offsets)
            return pooled
        order = torch.argsort(batch.lengths, stable=True)
        batch = batch.take(order)
        layout, qkv = Layout.in_order(batch.lengths), None
        if table is None or batch.masked is not None:
            x = self._inputs(batch)
        else:
            require_known(batch.item_index, self.n_items)
            x, qkv = embedding(batch.item_index, table).tensor_split([self.dim], dim=1)
        buckets = self._time_buckets(batch, layout)
        for block in self._stack[:-1]:
            x, qkv = block.in_order(x, layout, buckets, qkv), None
        x = self.norm_out(self._stack[-1].last(x, layout, buckets))
        # Those without events stand first.
        out: Tensor = x.new_zeros(batch.n_users, self.dim).index_copy_(0, order[-len(x) :], x)
        return out

    def _behind(self, batch: JaggedBatch) -> JaggedBatch:
        return mask_behind(batch) if self.reads_mask else batch

    @property
    def _stack(self) -> list[Block]:
        return cast("list[Block]", list(self.blocks))

    def _events(self, batch: JaggedBatch, layout: Layout) -> Float[Tensor, "events dim"]:
        for x in self._layers(batch, layout):
            last = x
        out: Tensor = self.norm_out(last)
        return out

    def _layers(self, batch: JaggedBatch, layout: Layout) -> Iterator[Float[Tensor, "events dim"]]:
        """What each block leaves."""
        x, buckets = self._inputs(batch), self._time_buckets(batch, layout)
        for block in self.blocks:
            x = block(x, layout, buckets)
            yield x

    def _inputs(self, batch: JaggedBatch) -> Float[Tensor, "events dim"]:
        """What the first block reads."""
        x = self.items(batch.item_index)
        if self.item_features is not None:
            x = x + self.item_features(batch.item_index)
        x = self.hide(x, batch)
        if self.inputs is not None:
            x = self.inputs(x, batch)
        if self.places is not None:
            x = x + self.places(self._place(batch))
        out: Tensor = self.dropout(self.norm_in(x))
        return out

    def _time_buckets(self, batch: JaggedBatch, layout: Layout) -> tuple[Tensor, ...]:
        n = self._n_time_buckets
        return time_buckets(batch.timestamps_s, layout, n, causal=self.causal) if n else ()

    def _place(self, batch: JaggedBatch) -> Int64[Tensor, " events"]:
        if self.positions == "from_start":
            return batch.position
        return batch.lengths[batch.user_of_event] - 1 - batch.position


def _block(config: TransformerConfig) -> Block:
    attention = SelfAttention(
        config.dim,
        config.heads,
        causal=config.causal,
        dropout=config.attention_dropout,
        max_distance=config.max_history if config.positions == "relative" else 0,
        n_time_buckets=config.time_bias_buckets,
        rotary=config.positions == "rotary",
    )
    return Block(
        attention,
        FeedForward(config.dim, config.hidden, config.feed_forward),
        dim=config.dim,
        norm=config.norm,
        dropout=config.dropout,
        norm_kind=config.norm_kind,
        residual=config.residual,
    )
