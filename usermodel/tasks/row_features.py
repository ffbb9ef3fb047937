"""Columns of rows as the codes and numbers that models read; everything that is fitted is fitted on training rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import polars as pl
import torch
from jaxtyping import Float, Float32, Float64, Int64
from numpy import ndarray

from usermodel.errors import DataError
from usermodel.events.vocabulary import Vocabulary
from usermodel.heads.row_inputs import RowBatch, RowHistories, RowShape
from usermodel.store.sequence_store import SequenceStore
from usermodel.tasks.row_columns import Categories, Column, own_name, read_column
from usermodel.tasks.rows import Rows

#: The field that histories are of.
_HISTORY: Final = "item_id"
#: Standard deviations from the mean beyond which all numbers are one.
_FAR: Final = 1e6
#: Rows whose sums are made at once.
_BLOCK: Final = 1 << 16


@dataclass
class RowFeatures:
    """Reads columns of rows, and learns on training rows which categories there are and where numbers lie.

    Attributes:
        names: Columns, see `usermodel.tasks.row_columns`.
        min_count: Training rows that a category must have; rarer ones are unknown, so that what is unknown is learned, too.
        max_history: Events before each row that models may read, by the codes of ``item_id``; 0 gives none.
        categories: Fitted: for each column of categories those with a code of their own, 1 to n.
        scales: Fitted: mean and deviation of each number.
        of_vectors: Fitted: mean and deviation of each number of ready vectors; None for none.
    """

    names: Sequence[str]
    min_count: int = 2
    max_history: int = 0
    categories: dict[str, Vocabulary] = field(default_factory=dict)
    scales: dict[str, tuple[float, float]] = field(default_factory=dict)
    of_vectors: tuple[Float32[ndarray, " dim"], Float32[ndarray, " dim"]] | None = None

    def fit(
        self,
        store: SequenceStore,
        rows: Rows,
        vectors: Float32[ndarray, "rows dim"] | None = None,
        *,
        train: Int64[ndarray, " train"] | None = None,
    ) -> RowFeatures:
        """Learn from training rows: those at some positions; None means all of the training part.

        Raises:
            DataError: No such column, or one that is an outcome.
        """
        train = rows.of("train") if train is None else train
        for name in dict.fromkeys(self.names):
            column = read_column(store, rows, name)
            if isinstance(column, Categories):
                counts = np.bincount(column.codes[train], minlength=len(column.names) + 1)[1:]
                self.categories[name] = Vocabulary(column.names.filter(pl.Series(counts >= self.min_count)))
                continue
            known = column[train][np.isfinite(column[train])]
            mean, std = _mean_and_std(known[:, None]) if len(known) else (np.zeros(1), np.ones(1))
            self.scales[name] = float(mean[0]), float(std[0])
        if vectors is not None:
            mean, std = _mean_and_std(vectors, train)
            self.of_vectors = mean.astype(np.float32), std.astype(np.float32)
        return self

    @property
    def text(self) -> tuple[str, ...]:
        """Columns of categories that are text."""
        return tuple(name for name, kept in self.categories.items() if kept.kind == "string")

    @property
    def shape(self) -> RowShape:
        """What a model must know."""
        fields = tuple((name, len(kept)) for name, kept in self.categories.items())
        history = _HISTORY if self.max_history and _HISTORY in self.categories else ""
        dim = 0 if self.of_vectors is None else len(self.of_vectors[0])
        return RowShape(fields, tuple(self.scales), dim, history)

    def batch(
        self, store: SequenceStore, rows: Rows, vectors: Float32[ndarray, "rows dim"] | None = None
    ) -> RowBatch:
        """All rows; numbers, those of vectors too, have mean 0 and variance 1 on training rows, and are 0 where unknown."""
        rows = rows if rows.table is None else replace(rows, table=self._as_trained(rows.table))
        codes = np.zeros((len(rows), len(self.categories)), dtype=np.int64)
        numbers = np.zeros((len(rows), len(self.scales)), dtype=np.float32)
        for place, (name, kept) in enumerate(self.categories.items()):
            codes[:, place] = _codes(kept, read_column(store, rows, name), name)
        for place, (name, (mean, std)) in enumerate(self.scales.items()):
            values = (_numbers(read_column(store, rows, name), name) - mean) / std
            # A float32 that is finite, however far off a new row is.
            numbers[:, place] = np.clip(np.where(np.isfinite(values), values, 0.0), -_FAR, _FAR)
        ready = np.zeros((len(rows), 0), dtype=np.float32)
        if vectors is not None and self.of_vectors is not None:
            mean_of, scale_of = self.of_vectors
            ready = vectors - mean_of
            ready /= scale_of
        past = self._histories(store, rows)
        return RowBatch(torch.from_numpy(codes), torch.from_numpy(numbers), torch.from_numpy(ready), past)

    def _as_trained(self, table: pl.DataFrame) -> pl.DataFrame:
        """Columns that another tool wrote in another type: names as text, and nothing as nothing of the type that is known."""
        own = set(table.columns) & (
            self.categories.keys() | {own_name(name) for name in (*self.scales, *self.categories)}
        )
        changed = []
        for name in sorted(own):
            kept, column = self.categories.get(name), table[name]
            if kept is not None and kept.kind == "string":
                changed.append(_as_names(column, kept))
            elif column.null_count() == len(column) and not column.dtype.is_numeric():
                changed.append(column.cast(pl.Float64, strict=False))
        return table.with_columns(changed)

    def _histories(self, store: SequenceStore, rows: Rows) -> RowHistories | None:
        """The last events before each row, by the codes of items; None where nobody asks."""
        if not self.shape.history:
            return None
        items = Categories(np.asarray(store.items).astype(np.int64), store.vocabulary.ids)
        codes = _codes(self.categories[_HISTORY], items, _HISTORY)
        start = np.maximum(rows.stop - self.max_history, store.offsets[rows.user])
        return RowHistories(*(torch.from_numpy(one) for one in (codes, start, rows.stop)))


def _as_names(column: pl.Series, kept: Vocabulary) -> pl.Series:
    """Text as it was in training: whole numbers without a fraction, and truth in the case that is known."""
    if column.dtype.is_float() and bool((column.is_null() | (column == column.round())).all()):
        column = column.cast(pl.Int64, strict=False)
    if column.dtype.is_nested():
        return column
    text = column.cast(pl.String)
    for changed in (text.str.to_lowercase(), text.str.strip_suffix(".0")):
        known = pl.Series((kept.encode(text) == 0) & (kept.encode(changed) > 0))
        text = text.zip_with(~known, changed)
    return text.alias(column.name)


def _mean_and_std(
    values: Float[ndarray, "rows dim"], at: Int64[ndarray, " at"] | None = None
) -> tuple[Float64[ndarray, " dim"], Float64[ndarray, " dim"]]:
    """Of each column, in blocks and in float64; a column that never changes has deviation 1, and so stays at 0."""
    at = np.arange(len(values)) if at is None else at
    parts, n = range(0, len(at), _BLOCK), max(len(at), 1)
    mean, squares = np.zeros(values.shape[1]), np.zeros(values.shape[1])
    for start in parts:
        mean += values[at[start : start + _BLOCK]].sum(0, dtype=np.float64) / n
    for start in parts:
        squares += np.square(values[at[start : start + _BLOCK]] - mean).sum(0)
    std = np.sqrt(squares / n)
    # Above what rounding leaves of a constant.
    return mean, np.where(std > np.finfo(values.dtype).eps * 8 * np.abs(mean), std, 1.0)


def _codes(kept: Vocabulary, column: Column, name: str) -> Int64[ndarray, " rows"]:
    """A code for each category that is kept; the others share 0."""
    if not isinstance(column, Categories):
        raise _changed(name, "categories", "numbers")
    if not len(column.names):
        return np.zeros(len(column.codes), dtype=np.int64)
    of_names = kept.encode(column.names).astype(np.int64)
    found: ndarray = np.append(0, of_names)[column.codes]
    return found


def _numbers(column: Column, name: str) -> Float64[ndarray, " rows"]:
    if isinstance(column, Categories):
        raise _changed(name, "numbers", "categories")
    return column


def _changed(name: str, expected: str, found: str) -> DataError:
    do = "Convert the column to what it was when the model was trained."
    return DataError(f"feature {name!r}", expected=expected, found=found, do=do)
