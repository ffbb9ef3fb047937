"""Rows of a task: each one a prediction about a user and an item at a time, from what the user did strictly before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import polars as pl
from jaxtyping import Bool, Float64, Int8, Int64
from numpy import ndarray

from usermodel.errors import ConfigError, DataError, nearest
from usermodel.events.splits import PARTS, Split, SplitConfig
from usermodel.sampling.protocol import Examples
from usermodel.schema import CLICKED, ITEM, PREDICTION_TIME, TIME, USER, VALUE, SplitName
from usermodel.store.sequence_store import SequenceStore
from usermodel.store.table_input import ITEM_INDEX, USER_ROW, typed_rows
from usermodel.store.tables import beside_ids

_OUTSIDE: Final = -1
IMPRESSIONS: Final = "impressions"
LABELS: Final = "labels"


@dataclass(frozen=True)
class Rows:
    """Rows by user and time.

    Attributes:
        user: User of each row.
        item: Its item, 1 to n_items.
        time: When the prediction is made.
        part: 0, 1, 2: its part, in the order of `PARTS`.
        stop: Store row at which its history ends: the first of the user's events that is not earlier.
        place: Where the row comes from: the store row of an event, or the row of ``table``.
        table: The table that the rows are of; None for events.
        parts: The column of the table that says which part a row is in; empty where a split says so.
    """

    user: Int64[ndarray, " n"]
    item: Int64[ndarray, " n"]
    time: Int64[ndarray, " n"]
    part: Int8[ndarray, " n"]
    stop: Int64[ndarray, " n"]
    place: Int64[ndarray, " n"]
    table: pl.DataFrame | None = None
    parts: str = ""

    def __len__(self) -> int:
        return len(self.user)

    def of(self, part: SplitName) -> Int64[ndarray, " rows"]:
        """Positions of the rows of a part."""
        return np.flatnonzero(self.part == PARTS.index(part))

    def examples(self, store: SequenceStore, max_history: int, n_items: int | None = None) -> Examples:
        """The history of each row, see `Examples.histories`; the prediction is made at the time of the row."""
        found = Examples.histories(store, self.user, self.stop, max_history, n_items)
        return replace(found, prediction_time=self.time)


@dataclass(frozen=True)
class RandomParts:
    """Rows at random, as splits of sets without users and times have it.

    Attributes:
        valid: Share of the rows.
        test: Share of the rows.
        seed: Of the draw.
    """

    valid: float = 0.1
    test: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.valid < 1 and 0 < self.test < 1 and self.valid + self.test < 1):
            expected, do = "shares that leave some rows to train on", "Choose 0.1 and 0.1."
            raise ConfigError("parts", expected=expected, found=f"{self.valid} and {self.test}", do=do)

    def draw(self, n: int) -> Int8[ndarray, " n"]:
        """The part of each of ``n`` rows, in the order of `PARTS`."""
        order = np.random.default_rng(self.seed).permutation(n)
        valid, test = round(self.valid * n), round(self.test * n)
        part = np.zeros(n, dtype=np.int8)
        part[order[:valid]] = PARTS.index("valid")
        part[order[valid : valid + test]] = PARTS.index("test")
        return part


def event_rows(store: SequenceStore, split: Split, known: Bool[ndarray, " events"]) -> Rows:
    """The events of the parts of a split for which ``known`` holds.

    Raises:
        DataError: No such event in the training or the test part.
    """
    user = np.repeat(np.arange(store.n_users), np.diff(store.offsets))
    row, times = np.arange(store.n_events), np.asarray(store.times)
    part = _part_at(split, user, row)
    # Events of one user at one time do not know of each other.
    begins = np.ones(store.n_events, dtype=bool)
    begins[1:] = (times[1:] != times[:-1]) | (user[1:] != user[:-1])
    stop = np.maximum.accumulate(np.where(begins, row, 0))
    kept = np.flatnonzero(known & (part != _OUTSIDE))
    items = store.items[kept].astype(np.int64)
    found = Rows(user[kept], items, times[kept], part[kept], stop[kept], kept)
    return _require_parts(store, split.name, found)


def impression_rows(
    store: SequenceStore, split: SplitConfig | Split, parts: str | RandomParts = ""
) -> tuple[Rows, Bool[ndarray, " rows"]]:
    """Items that were shown, with whether they were clicked.

    Where the split cuts at moments, so do the parts of the rows. Otherwise a row is in the part of the user's next event, that is
    of the first one that is not earlier; rows after all events of a user are in none.

    Args:
        store: Has the impressions.
        split: Cuts them.
        parts: A column that holds ``train``, ``valid`` or ``test`` instead; or parts at random.

    Raises:
        DataError: The store has no impressions, or the training or test part has none.
    """
    found, table = _table_rows(store, IMPRESSIONS, TIME, split, parts)
    return found, table[CLICKED].to_numpy()[found.place].astype(bool)


def label_rows(
    store: SequenceStore, split: SplitConfig | Split, parts: str | RandomParts = ""
) -> tuple[Rows, Float64[ndarray, " rows"]]:
    """Labels that are about an item and have a value, with these; else as `impression_rows`."""
    found, table = _table_rows(store, LABELS, PREDICTION_TIME, split, parts)
    return found, table[VALUE].to_numpy()[found.place]


def new_rows(store: SequenceStore, source: Any) -> Rows:
    """Rows to be scored, in their own order; all count as of the test part. Items that the store does not know are unknown to models, too.

    Args:
        store: Has the users.
        source: A frame, ``user_id item_id timestamp`` and the columns that a model reads.

    Raises:
        DataError: A missing column, a value of another type, or a user that the store does not have.
    """
    frame = typed_rows(source, store.users.kind, store.vocabulary.kind, store.time_kind)
    user = store.users.rows(frame[USER], "rows")
    item = store.vocabulary.encode(frame[ITEM]).astype(np.int64)
    time = frame[TIME].to_numpy()
    part = np.full(len(user), PARTS.index("test"), dtype=np.int8)
    return Rows(user, item, time, part, history_ends(store, user, time), np.arange(len(user)), frame)


def _table_rows(
    store: SequenceStore, name: str, when: str, split: SplitConfig | Split, parts: str | RandomParts
) -> tuple[Rows, pl.DataFrame]:
    table = store.table(name)
    if ITEM_INDEX not in table.columns:
        do = "Ingest labels with an item_id."
        raise DataError(f"{store.path}, {name}", expected="rows about items", found="no item_id", do=do)
    about = table[ITEM_INDEX].is_not_null().to_numpy()
    if name == LABELS:
        about &= table[VALUE].is_finite().fill_null(value=False).to_numpy()
    user = table[USER_ROW].to_numpy().astype(np.int64)
    item = table[ITEM_INDEX].fill_null(0).to_numpy().astype(np.int64)
    time = table[when].to_numpy()
    stop = history_ends(store, user, time)
    column = parts if isinstance(parts, str) else ""
    if isinstance(parts, RandomParts):
        where, part = "parts at random", parts.draw(table.height)
    elif column:
        where, part = f"column {column!r}", _part_named(table, name, column)
    else:
        cut = split if isinstance(split, Split) else store.split(split)
        where, part = cut.name, _part_cut(cut, store, user, time, stop)
    kept = np.flatnonzero((part != _OUTSIDE) & about)
    found = Rows(user[kept], item[kept], time[kept], part[kept], stop[kept], kept, table, column)
    return _require_parts(store, where, found, name), table


def _part_cut(
    cut: Split, store: SequenceStore, user: ndarray, time: ndarray, stop: ndarray
) -> Int8[ndarray, " n"]:
    moments = None if cut.config is None else cut.config.moments(np.asarray(store.times))
    if moments is None:
        return _part_at(cut, user, stop)
    part = np.searchsorted(moments, time, side="right").astype(np.int8)
    part[part >= len(PARTS)] = _OUTSIDE
    return part


def _part_named(table: pl.DataFrame, name: str, column: str) -> Int8[ndarray, " n"]:
    """Parts as a column says them; rows that say something else are in none."""
    choices = beside_ids(table)
    if column not in choices:
        do = nearest(column, choices)
        raise DataError(f"{name}, {column!r}", expected=", ".join(choices), found="no such column", do=do)
    text = table[column].cast(pl.String)
    part = np.full(table.height, _OUTSIDE, dtype=np.int8)
    for number, known in enumerate(PARTS):
        part[(text == known).fill_null(False).to_numpy()] = number
    return part


def _part_at(split: Split, user: Int64[ndarray, " n"], row: Int64[ndarray, " n"]) -> Int8[ndarray, " n"]:
    part = np.full(len(row), _OUTSIDE, dtype=np.int8)
    for number, name in enumerate(PARTS):
        first, stop = split.part(name)
        part[(row >= first[user]) & (row < stop[user])] = number
    return part


def history_ends(
    store: SequenceStore, user: Int64[ndarray, " n"], time: Int64[ndarray, " n"]
) -> Int64[ndarray, " n"]:
    """For each row the first event of its user that is not earlier, by binary search in all rows at once."""
    times = np.append(np.asarray(store.times), 0)
    low: ndarray = store.offsets[user]
    high: ndarray = store.offsets[user + 1]
    while (open_ := low < high).any():
        middle = (low + high) // 2
        earlier = open_ & (times[middle] < time)
        low, high = np.where(earlier, middle + 1, low), np.where(open_ & ~earlier, middle, high)
    return low


def _require_parts(store: SequenceStore, where: str, found: Rows, what: str = "events") -> Rows:
    for name in ("train", "test"):
        if not len(found.of(name)):
            do = "Use another split, or a log that has them."
            expected = f"{what} to {name} on"
            raise DataError(f"{store.path}, {where}", expected=expected, found="none", do=do)
    return found
