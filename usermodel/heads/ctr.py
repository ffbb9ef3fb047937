"""What every CTR head is: a model from rows to the log-odds of a click."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from usermodel.config import Config
from usermodel.heads.row_inputs import RowBatch, RowInputs, RowShape
from usermodel.nn.item_table import HashedItemsConfig, ItemsConfig, PlainItemsConfig


class CtrModel(nn.Module, ABC):
    """Log-odds of a click for each row; ``forward(rows)``."""

    @abstractmethod
    def forward(self, rows: RowBatch) -> Float[Tensor, " rows"]:
        """Log-odds; their sigmoid is the probability of a click."""


class CtrConfig(Config, ABC):
    """A CTR model. One file each; the defaults of sizes are those of the open benchmark BARS (Zhu et al. 2022) where it has the model.

    Attributes:
        dim: Width of a field's vector.
        init_std: Deviation of the numbers that vectors begin with. Small ones keep products of rare categories quiet; BARS has 0.0001.
        table: Vectors of categories: ``plain``, one for each; ``hashed``, a few hashed rows of one table of a size of your choice,
            see `usermodel.nn.item_table.HashedItemsConfig`.
    """

    dim: int = Field(default=16, ge=1)
    init_std: float = Field(default=0.01, gt=0)
    table: ItemsConfig = PlainItemsConfig()

    @abstractmethod
    def build(self, shape: RowShape) -> CtrModel:
        """A model with new weights for rows of a shape."""


class LinearTerm(nn.Module):
    """``w_c for each category + w . numbers + w . vector + b``: the part that looks at each field alone.

    Weights of categories and numbers begin at about 0, so that a model begins near even odds.
    """

    def __init__(self, shape: RowShape, table: ItemsConfig | None = None, std: float = 1e-4) -> None:
        super().__init__()
        # One number cannot be several rows side by side.
        own = table.override({"lookups": 1}) if isinstance(table, HashedItemsConfig) else table
        self.fields = RowInputs(RowShape(shape.fields, shape.numbers), 1, std, own)
        self.of_vectors = nn.Linear(shape.vector_dim, 1, bias=False) if shape.vector_dim else None
        if self.of_vectors is not None:
            nn.init.normal_(self.of_vectors.weight, std=std)
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, rows: RowBatch) -> Float[Tensor, " rows"]:
        """One number a row."""
        alone = RowBatch(rows.codes, rows.numbers, rows.vectors[:, :0])
        total: Tensor = self.fields(alone).sum((1, 2)) + self.bias
        return total if self.of_vectors is None else total + self.of_vectors(rows.vectors).squeeze(1)
