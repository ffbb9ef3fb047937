"""EmbeddingTable: vectors keyed by the caller's own ids. Scorer: the only thing a task sees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import polars as pl
import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor

from usermodel.errors import DataError, MismatchError, MissingError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class EmbeddingTable:
    """One vector per id.

    Attributes:
        ids: External ids (String or Int64), unique.
        vectors: ``float32[n, dim]``.
        encoder_hash: Content hash of the encoder that made them.
        columns: Further facts per row: ``n_events`` (events of the user), ``n_unknown`` (those of items that the encoder
            does not know, which were skipped), ``prediction_time``.
        name: Name of the id column: ``user_id`` or ``item_id``.
    """

    ids: pl.Series
    vectors: Float[ndarray, "n dim"]
    encoder_hash: str
    columns: pl.DataFrame = field(default_factory=pl.DataFrame)
    name: str = "user_id"

    def __post_init__(self) -> None:
        facts = len(self.columns) if self.columns.width else len(self.ids)
        if self.vectors.ndim != 2 or not len(self.ids) == len(self.vectors) == facts:
            found = (
                f"{len(self.ids)} ids, vectors of shape {self.vectors.shape}, {facts} rows of further facts"
            )
            do = "Pass matching arrays."
            raise DataError("embeddings", expected="one vector [dim] per id", found=found, do=do)
        if self.ids.n_unique() != len(self.ids):
            raise DataError(
                "embeddings", expected="unique ids", found="repeated ones", do="Embed each id once."
            )

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.ids)

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def __getitem__(self, key: Any) -> Float[ndarray, " dim"]:
        """The vector of one id."""
        if key not in self._rows:
            raise MissingError(
                self.name, expected="an id of this table", found=repr(key), do="Check the id and its type."
            )
        return np.asarray(self.vectors[self._rows[key]])

    @cached_property
    def _rows(self) -> dict[Any, int]:
        return {key: row for row, key in enumerate(self.ids)}

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return int(self.vectors.shape[1])

    def to_numpy(self) -> Float[ndarray, "n dim"]:
        """The vectors, in the order of ``ids``."""
        return np.asarray(self.vectors)

    def to_torch(self) -> Float[Tensor, "n dim"]:
        """The vectors as a tensor of its own, in the order of ``ids``."""
        # Vectors from a file are read-only memory, which torch does not know.
        return torch.from_numpy(np.array(self.vectors, order="C"))

    def to_polars(self) -> pl.DataFrame:
        """Columns: id, further facts, ``embedding`` (fixed-size array)."""
        vectors = pl.Series(
            "embedding",
            np.ascontiguousarray(self.vectors, dtype=np.float32),
            dtype=pl.Array(pl.Float32, self.dim),
        )
        return pl.DataFrame([self.ids.alias(self.name), *self.columns.get_columns(), vectors])

    def to_pandas(self) -> pd.DataFrame:
        """The same as `to_polars`, as a pandas frame (pandas must be installed)."""
        return self.to_polars().to_pandas()


class Scorer(Protocol):
    """Scores of every item for some users: embeddings, baselines and peers all look like this to a task.

    A scorer older than its store may also have ``n_unknown``: so many items at the end of the vocabulary it cannot score.
    They rank below all others. Without it, a number of items other than the store's is an error.
    """

    @property
    def n_items(self) -> int:
        """Items that can be scored."""
        ...

    def scores(self, users: Int64[ndarray, " batch"]) -> Float[Tensor, "batch items"]:
        """Scores of items 1 to n_items (column 0 is item 1) for users by store position, on the CPU."""
        ...


def unknown_items(scorer: Scorer) -> int:
    """Items at the end of the vocabulary that a scorer says it cannot score."""
    return int(getattr(scorer, "n_unknown", 0))


@dataclass(frozen=True)
class DotScorer:
    """Inner products of user and item vectors.

    Attributes:
        users: ``[n, dim]``, one row per entry of ``rows``.
        items: ``[items, dim]``; row 0 is item 1.
        rows: Store position of each user row, increasing; None means row u is user u.
        n_unknown: Items of the store that follow and have no vector.
    """

    users: Float[Tensor, "n dim"]
    items: Float[Tensor, "items dim"]
    rows: Int64[ndarray, " n"] | None = None
    n_unknown: int = 0

    def __post_init__(self) -> None:
        if self.users.shape[-1] != self.items.shape[-1]:
            found = f"{self.users.shape[-1]} and {self.items.shape[-1]}"
            raise MismatchError(
                "scorer",
                expected="user and item vectors of one width",
                found=found,
                do="Use one run for both.",
            )

    @property
    def n_items(self) -> int:
        """Items that can be scored."""
        return len(self.items)

    def scores(self, users: Int64[ndarray, " batch"]) -> Float[Tensor, "batch items"]:
        """Inner products, in float32.

        Raises:
            DataError: A user without a vector.
        """
        rows = users
        if self.rows is not None:
            rows = np.minimum(np.searchsorted(self.rows, users), len(self.rows) - 1)
            unknown = users[self.rows[rows] != users]
            if len(unknown):
                found = f"user {unknown[0]} ({len(unknown)} such)"
                raise DataError(
                    "scorer", expected="users with a vector", found=found, do="Encode them first."
                )
        return self.users[torch.from_numpy(np.ascontiguousarray(rows))] @ self.items.T
