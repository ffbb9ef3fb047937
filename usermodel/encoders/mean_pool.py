"""Mean of item vectors: the encoder to beat. One table, no layers, and with ``recency`` a weight that halves with age.

With scored item features it is a two-tower model whose towers share their tables.
"""

from __future__ import annotations

import math
from typing import Final, Literal

import torch
from jaxtyping import Float, Int64
from pydantic import Field, model_validator
from torch import Tensor, nn

from usermodel.batch import JaggedBatch
from usermodel.encoders.catalogue import Catalogue, read_item_features, require_given
from usermodel.encoders.protocol import Encoded, EncoderConfig, EncoderModule, new_mask_token
from usermodel.nn.dropout import Dropout
from usermodel.nn.initial import initialise
from usermodel.nn.inputs import ItemInputsConfig
from usermodel.nn.item_features import ItemFeatures
from usermodel.nn.item_table import ItemsConfig, ItemTable, PlainItemsConfig
from usermodel.nn.padded import PaddedBatch
from usermodel.nn.pooling import Pooling
from usermodel.nn.scan import decayed_sum
from usermodel.store.sequence_store import SequenceStore

Recency = Literal["equal", "fixed", "learned"]
#: Half-life in events, where none is given.
HALF_LIFE: Final = 10.0


class MeanPoolConfig(EncoderConfig):
    """Shape of a `MeanPool`.

    Attributes:
        max_history: Events read of a history, the latest ones.
        dim: Width of every vector.
        recency: ``equal`` weights, or weights that halve every ``half_life`` events, ``fixed`` or ``learned``.
        half_life: In events; where learning starts with ``learned``. None means 10. Not to be given with ``equal``.
        items: Item table: ``plain``, or ``hashed`` for catalogues that do not fit.
        inputs: What is known of items beside their ids; with ``score_item_features`` this is a two-tower model.
        dropout: On the item vectors.
        init_std: Standard deviation of the initial item vectors.
    """

    dim: int = Field(default=64, ge=1)
    max_history: int = Field(default=50, ge=1)
    recency: Recency = "equal"
    half_life: float | None = Field(default=None, gt=0)
    items: ItemsConfig = PlainItemsConfig()
    inputs: ItemInputsConfig = ItemInputsConfig()
    dropout: float = Field(default=0.2, ge=0, lt=1)
    init_std: float = Field(default=0.02, gt=0)

    @model_validator(mode="after")
    def _half_life_has_an_effect(self) -> MeanPoolConfig:
        if self.recency == "equal" and self.half_life is not None:
            raise ValueError(f"no half_life with recency=equal, got {self.half_life}")
        return self

    def build(self, n_items: int) -> MeanPool:
        """A `MeanPool` with random weights, that knows items by their ids only."""
        return self.build_for(Catalogue(n_items))

    def build_for(self, catalogue: Catalogue) -> MeanPool:
        """A `MeanPool` with random weights.

        Raises:
            ConfigError: The catalogue lacks what ``inputs`` name, or an option has nothing to act on.
        """
        require_given(self.inputs, catalogue)
        return MeanPool(self, catalogue)

    def catalogue(self, store: SequenceStore) -> Catalogue:
        """See `EncoderConfig.catalogue`; reads the items table where ``inputs`` name its columns."""
        return Catalogue(store.n_items, item_features=read_item_features(store, self.inputs))


class MeanPool(EncoderModule):
    """After each event, the weighted mean of the item vectors so far; the user's vector is the last one."""

    def __init__(self, config: MeanPoolConfig, catalogue: Catalogue) -> None:
        super().__init__()
        n_items, features = catalogue.n_items, catalogue.item_features
        self._catalogue, self._score_features = catalogue.shapes(), config.inputs.score_item_features
        self.n_items, self.dim, self.max_history, self.causal = n_items, config.dim, config.max_history, True
        self.items = ItemTable(n_items, config.dim, config.items)
        self.item_features = ItemFeatures(features, n_items, config.dim) if features else None
        self.dropout = Dropout(config.dropout)
        half_life = config.half_life or HALF_LIFE
        self.half_life = None if config.recency == "equal" else half_life
        # The logarithm, so that no step of an optimiser makes it negative.
        learned = torch.tensor([math.log(half_life)])
        self.log_half_life = nn.Parameter(learned) if config.recency == "learned" else None
        self.pooling = Pooling("last", config.dim)
        self.items.reset(config.init_std)
        if self.item_features is not None:
            initialise(self.item_features, config.init_std)
        self.mask_token = new_mask_token(config.mask_token, config.dim, config.init_std)

    def catalogue(self) -> Catalogue:
        """See `EncoderModule.catalogue`."""
        return self._catalogue

    def scored_features(self) -> ItemFeatures | None:
        """See `EncoderModule.scored_features`."""
        return self.item_features if self._score_features else None

    def forward(self, batch: JaggedBatch) -> Encoded:
        """Running means of the slices of a batch."""
        x = self.dropout(self.hide(self._read(batch.item_index), batch))
        # The last column adds up the weights.
        rows = torch.cat([x, x.new_ones(len(x), 1)], dim=1)
        sums = decayed_sum(rows, batch.position, self._decay(x))
        events = sums[:, :-1] / sums[:, -1:]
        return Encoded(events, self.pooling(events, batch.offsets))

    def padded(self, batch: PaddedBatch) -> Float[Tensor, "users dim"]:
        """See `EncoderModule.padded`; the last mean only, as one weighted sum."""
        x = batch.rectangle(self._read(batch.item_index))
        weight = self._decay(x) ** (batch.lengths[:, None] - 1 - batch.rectangle(batch.position)) * batch.real
        return (weight[:, None] @ x)[:, 0] / weight.sum(1, keepdim=True)

    def users(self, batch: JaggedBatch) -> Float[Tensor, "users dim"]:
        """See `EncoderModule.users`: the weight of each event as it stands at the end, and one sum a user."""
        x = self.dropout(self.hide(self._read(batch.item_index), batch))
        after = batch.lengths[batch.user_of_event] - 1 - batch.position
        rows = torch.cat([x, x.new_ones(len(x), 1)], dim=1) * (self._decay(x) ** after)[:, None]
        sums = torch.segment_reduce(rows, "sum", offsets=batch.offsets, unsafe=True)
        return sums[:, :-1] / torch.where(batch.lengths > 0, sums[:, -1], 1.0)[:, None]

    def _read(self, index: Int64[Tensor, " n"]) -> Float[Tensor, "n dim"]:
        x: Tensor = self.items(index)
        return x if self.item_features is None else x + self.item_features(index)

    def _decay(self, like: Tensor) -> Float[Tensor, ""]:
        """Weight of the event before, relative to that of an event."""
        if self.log_half_life is not None:
            return torch.exp2(-torch.exp(-self.log_half_life[0]))
        return like.new_tensor(1.0 if self.half_life is None else 0.5 ** (1 / self.half_life))
