"""Attributes: what is known of some users, as classes; from the users table of a store, or from a table beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
from jaxtyping import Float64, Int64
from numpy import ndarray

from usermodel.errors import DataError, nearest
from usermodel.schema import USER
from usermodel.store.sequence_store import SequenceStore
from usermodel.store.table_input import USER_ROW, read_tables

#: More values than this are numbers or names, not classes.
MOST_CLASSES: Final = 1_000


@dataclass(frozen=True)
class Attribute:
    """One class for each of some users.

    Attributes:
        name: Column it comes from.
        user: Positions of the users in the store, rising.
        code: Position in ``classes`` for each of them.
        classes: Their names, sorted; by number where all are whole numbers.
        n_strangers: Rows about users that the store does not have; they were left out.
    """

    name: str
    user: Int64[ndarray, " n"]
    code: Int64[ndarray, " n"]
    classes: tuple[str, ...]
    n_strangers: int = 0

    def __len__(self) -> int:
        return len(self.user)

    def take(self, rows: ndarray) -> Attribute:
        """Some of the users: positions in ascending order, or a mask; all classes stay."""
        return Attribute(self.name, self.user[rows], self.code[rows], self.classes, self.n_strangers)


@dataclass(frozen=True)
class Numbers:
    """One number for each of some users.

    Attributes:
        name: Column it comes from.
        user: Positions of the users in the store, rising.
        value: Of each of them, finite.
        n_strangers: Rows about users that the store does not have; they were left out.
    """

    name: str
    user: Int64[ndarray, " n"]
    value: Float64[ndarray, " n"]
    n_strangers: int = 0

    def __len__(self) -> int:
        return len(self.user)


def read_numbers(store: SequenceStore, name: str, source: Any = None) -> Numbers:
    """The numbers of a column; users without one are left out. Arguments as in `read_attribute`.

    Raises:
        DataError: No such table or column; values that are no numbers, or fewer than two different ones.
        MissingError: No such file.
    """
    where = f"{_where(store, source)}: column {name!r}"
    frame, strangers = _column(store, name, source)
    values = frame[name]
    if values.dtype == pl.String:
        text = values.str.strip_chars()
        values = text.cast(pl.Float64, strict=False)
        odd = text.filter(values.is_null() & text.is_not_null() & (text != ""))
        if len(odd):
            do = "Name a column of numbers, or another scale."
            raise DataError(where, expected="numbers", found=f"{odd[0]!r:.60}", do=do)
    elif not values.dtype.is_numeric():
        do = "Name a column of numbers, or another scale."
        raise DataError(where, expected="numbers", found=f"values of type {values.dtype}", do=do)
    number = values.cast(pl.Float64)
    kept = frame.select(USER_ROW, number.alias(name)).filter(number.is_finite()).sort(USER_ROW)
    if kept[name].n_unique() < 2:
        found, do = f"{kept[name].n_unique()} different values", "Name another column."
        raise DataError(where, expected="two different numbers at least", found=found, do=do)
    return Numbers(name, kept[USER_ROW].cast(pl.Int64).to_numpy(), kept[name].to_numpy(), strangers)


def read_attribute(store: SequenceStore, name: str, source: Any = None) -> Attribute:
    """The classes of a column; users without a value are left out.

    Args:
        store: Whose users.
        name: Column.
        source: Frame, or path of a Parquet or CSV file, with ``user_id`` and the column, one row a user; None means the users
            table that the store was built with.

    Raises:
        DataError: No such table or column; values that are no classes, fewer than two of them, or more than 1,000.
        MissingError: No such file.
    """
    where = _where(store, source)
    frame, strangers = _column(store, name, source)
    text = _as_text(frame[name], f"{where}: column {name!r}")
    frame = frame.select(USER_ROW, text.alias(name)).filter(text.is_not_null() & (text != "")).sort(USER_ROW)
    classes = _in_order(frame[name].unique().to_list())
    if not 2 <= len(classes) <= MOST_CLASSES:
        found = f"{len(classes):,} different values"
        do = "Name another column." if len(classes) < 2 else "Put values together into fewer classes."
        expected = f"2 to {MOST_CLASSES:,} classes"
        raise DataError(f"{where}: column {name!r}", expected=expected, found=found, do=do)
    order = {value: code for code, value in enumerate(classes)}
    code = frame[name].replace_strict(order, return_dtype=pl.Int64)
    return Attribute(name, frame[USER_ROW].cast(pl.Int64).to_numpy(), code.to_numpy(), classes, strangers)


def _where(store: SequenceStore, source: Any) -> str:
    return f"{store.path}, table users" if source is None else str(source)[:120]


def _column(store: SequenceStore, name: str, source: Any) -> tuple[pl.DataFrame, int]:
    """A frame that has the column, and how many rows there are about strangers."""
    frame, strangers = _frame(store, source)
    if name not in frame.columns or name in (USER, USER_ROW):
        known = [column for column in frame.columns if column not in (USER, USER_ROW)]
        found = f"the columns {', '.join(map(repr, known))}" if known else "no columns beside the ids"
        raise DataError(
            _where(store, source), expected=f"a column {name!r}", found=found, do=nearest(name, known)
        )
    return frame, strangers


def _as_text(values: pl.Series, where: str) -> pl.Series:
    # Whole numbers beside empty cells become floats in many tools, and the empty cells NaN in some.
    if values.dtype.is_float():
        values = values.fill_nan(None)
        if bool((values.is_null() | (values.is_finite() & (values == values.round()))).all()):
            values = values.cast(pl.Int64, strict=False)
    if values.dtype.is_nested() or values.dtype.is_float() or values.dtype in (pl.Binary, pl.Duration):
        found, do = f"values of type {values.dtype}", "Cut numbers into ranges, and write these as text."
        raise DataError(where, expected="classes", found=found, do=do)
    return values.cast(pl.String)


def _frame(store: SequenceStore, source: Any) -> tuple[pl.DataFrame, int]:
    """Rows of users of the store, with ``user_row``, and how many rows there are of others."""
    if source is None:
        return store.table("users"), 0
    types = store.users.kind, store.vocabulary.kind
    frame = read_tables({"users_table": source}, *types, store.time_kind)["users"]
    index = pl.Series(USER_ROW, store.users.encode(frame[USER]).astype(np.int64) - 1)
    frame = frame.with_columns(index).filter(index >= 0)
    return frame, len(index) - frame.height


def _in_order(values: list[str]) -> tuple[str, ...]:
    if all(re.fullmatch(r"-?[0-9]{1,18}", value) for value in values):
        return tuple(sorted(values, key=lambda value: (int(value), value)))
    return tuple(sorted(values))
