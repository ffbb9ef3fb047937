"""Rows to be scored: categories, numbers and ready vectors; and the layer that makes one vector of the categories of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from usermodel.errors import DataError
from usermodel.nn.item_table import ItemTable


@dataclass(frozen=True)
class RowShape:
    """What a model must know of rows before it can be built.

    Attributes:
        fields: For each field of categories its name and how many there are: codes 1 to n, 0 is unknown.
        numbers: Names of the numbers.
        vector_dim: Width of the ready vectors of a row, such as the user's; 0 means none.
    """

    fields: tuple[tuple[str, int], ...]
    numbers: tuple[str, ...] = ()
    vector_dim: int = 0

    def width(self, dim: int) -> int:
        """Numbers of a row when each category has a vector of width ``dim``."""
        return len(self.fields) * dim + len(self.numbers) + self.vector_dim


@dataclass(frozen=True)
class RowBatch:
    """Some rows.

    Attributes:
        codes: Category of each field, 0 for an unknown one.
        numbers: Numbers, finite.
        vectors: Ready vectors; ``[rows, 0]`` where there are none.
    """

    codes: Int64[Tensor, "rows fields"]
    numbers: Float[Tensor, "rows numbers"]
    vectors: Float[Tensor, "rows vector_dim"]

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: Int64[Tensor, " n"]) -> RowBatch:
        """The rows at these positions."""
        return RowBatch(self.codes[rows], self.numbers[rows], self.vectors[rows])

    def to(self, device: torch.device) -> RowBatch:
        """The same on another device."""
        return RowBatch(self.codes.to(device), self.numbers.to(device), self.vectors.to(device))

    def require(self, shape: RowShape) -> None:
        """Raise `DataError` unless a model of this shape can read the rows."""
        found = (self.codes.shape[1], self.numbers.shape[1], self.vectors.shape[1])
        wanted = (len(shape.fields), len(shape.numbers), shape.vector_dim)
        if found != wanted:
            names = "{} fields, {} numbers, vectors of width {}"
            do = "Make the rows as they were made for training."
            raise DataError("rows", expected=names.format(*wanted), found=names.format(*found), do=do)


class RowInputs(nn.Module):
    """One table for the categories of all fields, so that a step is one look-up and not one for each field.

    Each field has a row of its own for what is unknown, which is learned.

    Args:
        shape: Of the rows.
        dim: Width of a category's vector.
        std: Of the normal distribution that the vectors are drawn from.
    """

    starts: Tensor

    def __init__(self, shape: RowShape, dim: int, std: float = 0.05) -> None:
        super().__init__()
        self.shape, self.dim = shape, dim
        # Row 0 of the table is its padding, which nothing here is.
        starts = 1 + np.cumsum([0, *(size + 1 for _, size in shape.fields)])
        self.register_buffer("starts", torch.from_numpy(starts[:-1]), persistent=False)
        self.table = ItemTable(int(starts[-1]) - 1, dim)
        self.table.reset(std)

    def forward(self, rows: RowBatch) -> Float[Tensor, "rows fields dim"]:
        """The vector of each category."""
        index = rows.codes + self.starts
        found: Tensor = self.table(index.flatten())
        return found.view(*index.shape, self.dim)

    def flat(self, rows: RowBatch) -> Float[Tensor, "rows width"]:
        """All that is known of each row, side by side: vectors of categories, numbers, ready vectors."""
        rows.require(self.shape)
        return torch.cat([self(rows).flatten(1), rows.numbers, rows.vectors], 1)
