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

    def n_fields(self, dim: int) -> int:
        """Vectors of width ``dim`` of a row: one for each field, and as many as a ready vector fills."""
        return len(self.fields) + -(-self.vector_dim // dim)

    def width(self, dim: int) -> int:
        """Numbers of a row, side by side."""
        return self.n_fields(dim) * dim + len(self.numbers)


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

    Each field has a row of its own for what is unknown, which is learned. A ready vector, whose numbers should have variance 1, is
    mapped to fields like the others: at first no field weighs more than another.

    Args:
        shape: Of the rows.
        dim: Width of a field's vector.
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
        self.of_vectors: nn.Linear | None = None
        if shape.vector_dim:
            extra = shape.n_fields(dim) - len(shape.fields)
            self.of_vectors = nn.Linear(shape.vector_dim, extra * dim, bias=False)
            nn.init.normal_(self.of_vectors.weight, std=std / shape.vector_dim**0.5)

    def forward(self, rows: RowBatch) -> Float[Tensor, "rows fields dim"]:
        """The vector of each field, those of the ready vector at the end."""
        rows.require(self.shape)
        index = rows.codes + self.starts
        found: Tensor = self.table(index.flatten()).view(*index.shape, self.dim)
        if self.of_vectors is None:
            return found
        return torch.cat([found, self.of_vectors(rows.vectors).view(len(rows), -1, self.dim)], 1)

    def flat(self, rows: RowBatch) -> Float[Tensor, "rows width"]:
        """All that is known of each row, side by side: vectors of fields, then numbers."""
        return torch.cat([self(rows).flatten(1), rows.numbers], 1)
