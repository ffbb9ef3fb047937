"""Rows to be scored: categories, numbers and ready vectors; and the layer that makes one vector of the categories of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from usermodel.errors import ConfigError, DataError
from usermodel.nn.item_table import ItemsConfig, ItemTable


@dataclass(frozen=True)
class RowShape:
    """What a model must know of rows before it can be built.

    Attributes:
        fields: For each field of categories its name and how many there are: codes 1 to n, 0 is unknown.
        numbers: Names of the numbers.
        vector_dim: Width of the ready vectors of a row, such as the user's; 0 means none.
        history: Name of the field whose categories a row's history holds, such as ``item_id``; empty for rows without.
    """

    fields: tuple[tuple[str, int], ...]
    numbers: tuple[str, ...] = ()
    vector_dim: int = 0
    history: str = ""

    @property
    def history_field(self) -> int:
        """Position of the field of `history`.

        Raises:
            ConfigError: The rows have no history.
        """
        names = [name for name, _ in self.fields]
        if self.history not in names:
            do = "Name item_id among the features of the task, with a max_history above 0."
            raise ConfigError("history", expected="rows with a history of items", found="none", do=do)
        return names.index(self.history)

    def n_fields(self, dim: int) -> int:
        """Vectors of width ``dim`` of a row: one for each category and number, and as many as a ready vector fills."""
        return len(self.fields) + len(self.numbers) + -(-self.vector_dim // dim)


@dataclass(frozen=True)
class RowHistories:
    """What each row's user did before, as ranges of one table of events that all rows share.

    Attributes:
        codes: Category of each event, 0 for an unknown one.
        start: First event of each row.
        stop: Event after its last one.
    """

    codes: Int64[Tensor, " events"]
    start: Int64[Tensor, " rows"]
    stop: Int64[Tensor, " rows"]

    def laid_out(self) -> tuple[Int64[Tensor, " inputs"], Int64[Tensor, " inputs"], Int64[Tensor, " inputs"]]:
        """Events of all rows end to end: their codes, whose they are, and their distance from the end, from 0."""
        lengths = self.stop - self.start
        owner = torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)
        before = torch.cumsum(lengths, 0) - lengths
        place = torch.arange(len(owner), device=lengths.device) - before[owner]
        return self.codes[self.start[owner] + place], owner, lengths[owner] - 1 - place


@dataclass(frozen=True)
class RowBatch:
    """Some rows.

    Attributes:
        codes: Category of each field, 0 for an unknown one.
        numbers: Numbers, finite.
        vectors: Ready vectors; ``[rows, 0]`` where there are none.
        histories: What came before; None where nobody asks.
    """

    codes: Int64[Tensor, "rows fields"]
    numbers: Float[Tensor, "rows numbers"]
    vectors: Float[Tensor, "rows vector_dim"]
    histories: RowHistories | None = None

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: Int64[Tensor, " n"]) -> RowBatch:
        """The rows at these positions."""
        past = self.histories
        if past is not None:
            past = RowHistories(past.codes, past.start[rows], past.stop[rows])
        return RowBatch(self.codes[rows], self.numbers[rows], self.vectors[rows], past)

    def require(self, shape: RowShape) -> None:
        """Raise `DataError` unless a model of this shape can read the rows."""
        found = (self.codes.shape[1], self.numbers.shape[1], self.vectors.shape[1])
        wanted = (len(shape.fields), len(shape.numbers), shape.vector_dim)
        if found != wanted:
            names = "{} fields, {} numbers, vectors of width {}"
            do = "Make the rows as they were made for training."
            raise DataError("rows", expected=names.format(*wanted), found=names.format(*found), do=do)

    def past(self) -> RowHistories:
        """The histories.

        Raises:
            DataError: The rows have none.
        """
        if self.histories is None:
            do = "Make the rows as they were made for training."
            raise DataError("rows", expected="histories", found="none", do=do)
        return self.histories


class RowInputs(nn.Module):
    """A vector for each field: one table for the categories of all, so that a step is one look-up and not one for each field.

    Each field has a row of its own for what is unknown, which is learned. A number scales a vector of its own. A ready vector, whose
    numbers should have variance 1, is mapped to fields like the others: at first no field weighs more than another.

    Args:
        shape: Of the rows.
        dim: Width of a field's vector.
        std: Of the normal distribution that the vectors are drawn from.
        table: How the vectors of categories are stored; ``hashed`` is one table for all fields, in which a category of each field
            has rows of its own (feature multiplexing).
    """

    starts: Tensor

    def __init__(
        self, shape: RowShape, dim: int, std: float = 0.05, table: ItemsConfig | None = None
    ) -> None:
        super().__init__()
        self.shape, self.dim = shape, dim
        # Row 0 of the table is its padding, which nothing here is.
        starts = 1 + np.cumsum([0, *(size + 1 for _, size in shape.fields)])
        self.register_buffer("starts", torch.from_numpy(starts[:-1]), persistent=False)
        self.table = ItemTable(int(starts[-1]) - 1, dim, table)
        self.table.reset(std)
        self.of_numbers = nn.Parameter(std * torch.randn(len(shape.numbers), dim))
        self.of_vectors: nn.Linear | None = None
        if shape.vector_dim:
            extra = -(-shape.vector_dim // dim)
            self.of_vectors = nn.Linear(shape.vector_dim, extra * dim, bias=False)
            nn.init.normal_(self.of_vectors.weight, std=std / shape.vector_dim**0.5)

    @property
    def n_fields(self) -> int:
        """Vectors of a row."""
        return self.shape.n_fields(self.dim)

    def forward(self, rows: RowBatch) -> Float[Tensor, "rows fields dim"]:
        """The vectors of categories, then of numbers, then those of the ready vector.

        Raises:
            DataError: Rows of another shape.
        """
        rows.require(self.shape)
        index = rows.codes + self.starts
        parts = [self.table(index.flatten()).view(*index.shape, self.dim)]
        if self.shape.numbers:
            parts.append(rows.numbers[:, :, None] * self.of_numbers)
        if self.of_vectors is not None:
            extra = self.of_vectors.out_features // self.dim
            parts.append(self.of_vectors(rows.vectors).view(len(rows), extra, self.dim))
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0]

    def of_history(self, codes: Int64[Tensor, " inputs"]) -> Float[Tensor, "inputs dim"]:
        """The vectors of events of histories: those of the field that they are of."""
        found: Tensor = self.table(codes + self.starts[self.shape.history_field])
        return found
