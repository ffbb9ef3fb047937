"""What is known of rows before their outcome, as codes and numbers; everything that is fitted is fitted on training rows.

Names: ``user_id``, ``item_id``; ``hour`` (of the day, UTC) and ``weekday``; a declared context column by its name; a column of a side
table as ``items.NAME`` or ``users.NAME``; and the number ``duration``, as its logarithm. Outcomes, such as the rating or the type of the
event itself, are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import polars as pl
import torch
from jaxtyping import Float32, Float64, Int64
from numpy import ndarray

from usermodel.errors import DataError, nearest
from usermodel.heads.row_inputs import RowBatch, RowHistories, RowShape
from usermodel.schema import (
    CLICKED,
    DURATION,
    EVENT_TYPE,
    LABEL,
    PROPENSITY,
    RATING,
    SESSION,
    WATCH_TIME,
)
from usermodel.store.sequence_store import SequenceStore
from usermodel.store.table_input import ITEM_INDEX, USER_ROW
from usermodel.tasks.rows import IMPRESSIONS, Rows, impression_columns

#: What happened, and is not known before.
OUTCOMES: Final = (EVENT_TYPE, WATCH_TIME, RATING, LABEL, CLICKED)
#: The field that histories are of.
_HISTORY: Final = "item_id"
_HOUR: Final = 3_600_000_000
_DAYS: Final = 7
#: 1970-01-01 was a Thursday, weekday 3 counted from Monday.
_FIRST_WEEKDAY: Final = 3
_TABLES: Final = {"items": ITEM_INDEX, "users": USER_ROW}


@dataclass
class RowFeatures:
    """Reads columns of rows, and learns on training rows which categories there are and where numbers lie.

    Attributes:
        names: Columns, see the module.
        min_count: Training rows that a category must have; rarer ones are unknown, so that what is unknown is learned, too.
        max_history: Events before each row that models may read, by the codes of ``item_id``; 0 gives none.
    """

    names: Sequence[str]
    min_count: int = 2
    max_history: int = 0
    _codes: dict[str, Int64[ndarray, " codes"]] = field(default_factory=dict)
    _scales: dict[str, tuple[float, float]] = field(default_factory=dict)
    _train: Int64[ndarray, " train"] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def fit(
        self, store: SequenceStore, rows: Rows, train: Int64[ndarray, " train"] | None = None
    ) -> RowFeatures:
        """Learn from training rows: those at some positions; None means all.

        Raises:
            DataError: No such column, or one that is an outcome.
        """
        train = self._train = rows.of("train") if train is None else train
        for name in dict.fromkeys(self.names):
            values = _read(store, rows, name)
            if values.dtype.kind == "f":
                known = values[train][np.isfinite(values[train])]
                mean, std = (known.mean(), known.std()) if len(known) else (0.0, 1.0)
                self._scales[name] = float(mean), float(std) or 1.0
                continue
            counts = np.bincount(values[train])
            counts[0] = 0
            enough = counts >= self.min_count
            # A code for each category that is kept; the others share 0, as do those beyond the table.
            self._codes[name] = np.where(enough, np.cumsum(enough), 0)
        return self

    def shape(self, vector_dim: int = 0) -> RowShape:
        """What a model must know."""
        fields = tuple((name, int(codes.max(initial=0))) for name, codes in self._codes.items())
        history = _HISTORY if self.max_history and _HISTORY in self._codes else ""
        return RowShape(fields, tuple(self._scales), vector_dim, history)

    def batch(
        self, store: SequenceStore, rows: Rows, vectors: Float32[ndarray, "rows vector_dim"] | None
    ) -> RowBatch:
        """All rows; numbers, those of vectors too, have mean 0 and variance 1 on training rows, and are 0 where unknown."""
        codes = np.zeros((len(rows), len(self._codes)), dtype=np.int64)
        numbers = np.zeros((len(rows), len(self._scales)), dtype=np.float32)
        for place, (name, known) in enumerate(self._codes.items()):
            values = _read(store, rows, name)
            inside = values < len(known)
            codes[inside, place] = known[values[inside]]
        for place, (name, (mean, std)) in enumerate(self._scales.items()):
            values = (_read(store, rows, name) - mean) / std
            numbers[:, place] = np.where(np.isfinite(values), values, 0.0)
        ready = np.zeros((len(rows), 0), dtype=np.float32)
        if vectors is not None:
            known_vectors = vectors[self._train]
            scale = known_vectors.std(0)
            ready = (vectors - known_vectors.mean(0)) / np.where(scale > 0, scale, 1.0)
        past = self._histories(store, rows)
        return RowBatch(torch.from_numpy(codes), torch.from_numpy(numbers), torch.from_numpy(ready), past)

    def _histories(self, store: SequenceStore, rows: Rows) -> RowHistories | None:
        """The last events before each row, by the codes of items; None where nobody asks."""
        if not (self.max_history and _HISTORY in self._codes):
            return None
        known, items = self._codes[_HISTORY], np.asarray(store.items)
        codes = np.where(items < len(known), known[np.minimum(items, len(known) - 1)], 0)
        start = np.maximum(rows.stop - self.max_history, store.offsets[rows.user])
        return RowHistories(*(torch.from_numpy(one) for one in (codes, start, rows.stop)))


def _read(store: SequenceStore, rows: Rows, name: str) -> ndarray:
    """Codes from 0 = unknown as int64, or numbers as float64."""
    if name in OUTCOMES:
        do = "Leave it out: what is known only after the event would be read from the answer."
        raise DataError(f"feature {name!r}", expected="what is known before", found="an outcome", do=do)
    found: ndarray
    if name == "user_id":
        found = rows.user + 1
        return found
    if name == "item_id":
        return rows.item
    if name in {"hour", "weekday"}:
        return _clock(store, rows, name)
    if name == "duration":
        return _duration(store, rows)
    table, dot, column = name.partition(".")
    if dot and table in _TABLES:
        return _side(store, rows, table, column)
    own = _own_columns(store, rows)
    if name in own:
        return _own(store, rows, name)
    choices = ["user_id", "item_id", "hour", "weekday", "duration", *own]
    choices += [f"{table}.{one}" for table in _TABLES for one in _columns(store, table)]
    raise DataError(
        f"feature {name!r}", expected=", ".join(choices), found="no such column", do=nearest(name, choices)
    )


def _duration(store: SequenceStore, rows: Rows) -> Float64[ndarray, " rows"]:
    """The logarithm of each row's own duration, or for an impression of the longest that its item has in any event."""
    known = np.asarray(store.feature(DURATION)).astype(np.float64)
    if rows.source == IMPRESSIONS:
        of_items = np.zeros(store.n_items + 1)
        np.maximum.at(of_items, store.items, known)
        known = of_items[rows.item]
    else:
        known = known[rows.place]
    found: ndarray = np.log(np.where(known > 0, known, np.nan))
    return found


def _own_columns(store: SequenceStore, rows: Rows) -> list[str]:
    """Columns that came with the rows themselves."""
    if rows.source == IMPRESSIONS:
        return [name for name in impression_columns(store) if name != PROPENSITY]
    return [*store.context, *([SESSION] if SESSION in store.features else [])]


def _own(store: SequenceStore, rows: Rows, name: str) -> ndarray:
    if rows.source == IMPRESSIONS:
        return _values(store.table(IMPRESSIONS)[name], rows.place)
    values = store.feature(name)[rows.place]
    found: ndarray = values.astype(np.float64 if values.dtype.kind == "f" else np.int64)
    return found


def _clock(store: SequenceStore, rows: Rows, name: str) -> Int64[ndarray, " rows"]:
    if store.time_kind == "order":
        do = "Leave it out, or ingest a log with times."
        raise DataError(
            f"feature {name!r}", expected="a store with times", found="an order-only store", do=do
        )
    hours: ndarray = rows.time // _HOUR
    return hours % 24 + 1 if name == "hour" else (hours // 24 + _FIRST_WEEKDAY) % _DAYS + 1


def _columns(store: SequenceStore, table: str) -> list[str]:
    if table not in store.meta.get("tables", {}):
        return []
    ids = {USER_ROW, ITEM_INDEX, "user_id", "item_id"}
    return [name for name in store.table(table).columns if name not in ids]


def _side(store: SequenceStore, rows: Rows, table: str, column: str) -> ndarray:
    """A column of what is known of items or users, for each row; lists are refused."""
    frame = store.table(table)
    choices = _columns(store, table)
    if column not in choices:
        do = nearest(column, choices)
        raise DataError(
            f"feature '{table}.{column}'", expected=", ".join(choices) or "columns", found="none such", do=do
        )
    values = frame[column]
    of_rows = rows.item if table == "items" else rows.user
    key = frame[_TABLES[table]].to_numpy()
    of_key = _values(values, np.arange(len(values)))
    size = int(max(key.max(initial=0), of_rows.max(initial=0))) + 1
    column_of = np.full(size, np.nan) if of_key.dtype.kind == "f" else np.zeros(size, dtype=np.int64)
    column_of[key] = of_key
    found: ndarray = column_of[of_rows]
    return found


def _values(column: pl.Series, rows: Int64[ndarray, " n"]) -> ndarray:
    """Numbers as float64, anything else as codes in sorted order, 0 where there is none; lists are refused."""
    if column.dtype.is_nested():
        do = "Convert it to one category or number for each."
        raise DataError(f"feature {column.name!r}", expected="one value each", found=str(column.dtype), do=do)
    if column.dtype.is_numeric():
        values = column.cast(pl.Float64).fill_null(float("nan"))
    else:
        # Ranks begin at 1.
        values = column.cast(pl.String).rank("dense").fill_null(0).cast(pl.Int64)
    found: ndarray = values.to_numpy()[rows]
    return found
