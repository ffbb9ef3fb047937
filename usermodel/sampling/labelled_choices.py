"""What users chose, one example a choice, with things they did not choose beside it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from jaxtyping import Int64
from numpy import ndarray
from pydantic import Field

from usermodel.errors import DataError, nearest
from usermodel.events.splits import Split
from usermodel.sampling.parts import PartsConfig
from usermodel.sampling.protocol import Examples, Part, SamplerConfig
from usermodel.sampling.recent import first_from, latest
from usermodel.schema import PREDICTION_TIME, VALUE
from usermodel.store.sequence_store import SequenceStore
from usermodel.store.table_input import USER_ROW


class LabelledChoicesConfig(SamplerConfig):
    """One example for each row of the labels table: the user's last ``max_history`` events before it, and what was chosen.

    Events are those of the training part that lie before the row's ``prediction_time``; without any the row is left out. Rows whose
    ``value`` is 0 or less are no choices. Things need not be items of the store. The rows, shuffled, are cut into parts like the users of `LabelledUsersConfig`, so one
    user's choices are spread over the parts, as in the released code of AdaptSSR (Yu et al. 2023).

    Attributes:
        column: Of the labels table: what was chosen.
        task: Only rows with this value in the column ``task``; None means all rows.
        negatives: Things beside each choice that the user never chose in any part, drawn uniformly, anew in each epoch.
        parts: Shares of the rows that train, validate and test.
    """

    column: str = "target"
    task: str | None = None
    negatives: int = Field(default=1, ge=1)
    parts: PartsConfig = PartsConfig()

    @property
    def draws_labels(self) -> bool:
        """Always."""
        return True

    def answers(self, store: SequenceStore) -> tuple[str, ...]:
        """All things that anybody chose, sorted."""
        return self._choices(store).things

    def sample(
        self, store: SequenceStore, split: Split, *, max_history: int, rng: np.random.Generator
    ) -> Examples:
        """Labels are the choice and then the negatives.

        Raises:
            DataError: A user chose everything.
        """
        choices = self._choices(store)
        rows, examples = self._part(store, split, choices, "train", max_history)
        negatives = choices.others(rows, self.negatives, rng)
        return replace(examples, label=np.column_stack([choices.thing[rows], negatives]))

    def held_out(self, store: SequenceStore, split: Split, part: Part, max_history: int) -> Examples:
        """Labels are the choice and then the user's other choices, of all parts.

        Raises:
            DataError: The part is empty.
        """
        choices = self._choices(store)
        rows, examples = self._part(store, split, choices, part, max_history)
        if not len(rows):
            expected, do = f"labels in the {part} part", "Bring more of them."
            raise DataError(str(store.path), expected=expected, found="none", do=do)
        return replace(examples, label=choices.with_others(rows))

    def _part(
        self, store: SequenceStore, split: Split, choices: _Choices, part: str, max_history: int
    ) -> tuple[Int64[ndarray, " rows"], Examples]:
        """Rows of a part, and what was known before each."""
        rows = self.parts.rows(len(choices.user), part)
        stop = first_from(store, split, choices.user[rows], choices.time[rows])
        known = stop > split.start[choices.user[rows]]
        rows, stop = rows[known], stop[known]
        return rows, latest(store, split, choices.user[rows], max_history, stop)

    def _choices(self, store: SequenceStore) -> _Choices:
        table = store.table("labels")
        for column in (self.column, *(["task"] if self.task is not None else [])):
            if column not in table.columns:
                found = f"the columns {', '.join(map(repr, table.columns))}"
                do = nearest(column, table.columns)
                raise DataError(
                    f"{store.path}, table labels", expected=f"a column {column!r}", found=found, do=do
                )
        if self.task is not None:
            table = table.filter(pl.col("task").cast(pl.String) == self.task)
        thing = table[self.column]
        if thing.dtype.is_nested() or thing.dtype.is_float():
            where, found = (
                f"{store.path}, table labels: column {self.column!r}",
                f"values of type {thing.dtype}",
            )
            raise DataError(
                where, expected="names or numbers of things", found=found, do="Give one thing a row."
            )
        thing = thing.cast(pl.String)
        given = thing.is_not_null() & (thing != "") & (table[VALUE] > 0)
        table = table.select(USER_ROW, PREDICTION_TIME, thing.alias("thing")).filter(given)
        things = table["thing"].unique().sort()
        if len(things) < 2:
            expected, found = "at least two things to choose from", f"{len(things)}"
            do = "Look at sampling.task and sampling.column."
            raise DataError(f"{store.path}, table labels", expected=expected, found=found, do=do)
        code = table["thing"].replace_strict(things, pl.int_range(len(things), eager=True))
        user, time = table[USER_ROW].cast(pl.Int64).to_numpy(), table[PREDICTION_TIME].to_numpy()
        return _Choices.of(user, time, code.to_numpy(), tuple(things))


@dataclass(frozen=True)
class _Choices:
    """Rows of the table, and for each user the things chosen, each once.

    Attributes:
        user: Of each row.
        time: Of each row; a history ends before it.
        thing: Of each row, from 0.
        things: Their names.
        chosen: Things of all users, user by user and sorted.
        borders: Where each user's begin in ``chosen``.
    """

    user: Int64[ndarray, " rows"]
    time: Int64[ndarray, " rows"]
    thing: Int64[ndarray, " rows"]
    things: tuple[str, ...]
    chosen: Int64[ndarray, " pairs"]
    borders: Int64[ndarray, " users+1"]

    @staticmethod
    def of(user: ndarray, time: ndarray, thing: ndarray, things: tuple[str, ...]) -> _Choices:
        pairs = np.unique(user * len(things) + thing)
        count = np.bincount(pairs // len(things), minlength=int(user.max()) + 1)
        borders = np.concatenate([[0], np.cumsum(count)])
        return _Choices(user, time, thing, things, pairs % len(things), borders)

    def others(self, rows: ndarray, n: int, rng: np.random.Generator) -> Int64[ndarray, "rows n"]:
        """Things that the users of ``rows`` never chose, uniformly.

        The k-th of them is k plus the number of chosen ones below it: of the chosen c_0 < c_1 < ..., as many as
        ``c_j - j <= k``.
        """
        begin, count = self.borders[self.user[rows]], np.diff(self.borders)[self.user[rows]]
        left = len(self.things) - count
        if len(rows) and left.min() < 1:
            do = "Leave such users out, or bring more things to choose from."
            raise DataError("labels", expected="something that a user did not choose", found="nothing", do=do)
        drawn = rng.integers(0, left[:, None], (len(rows), n))
        # Keys that rise over all users make one search of all searches.
        place = np.arange(len(self.chosen)) - np.repeat(self.borders[:-1], np.diff(self.borders))
        owner = np.repeat(np.arange(len(self.borders) - 1), np.diff(self.borders))
        wide = len(self.things) + 1
        keys = owner * wide + self.chosen - place
        asked = self.user[rows][:, None] * wide + drawn
        found: ndarray = drawn + np.searchsorted(keys, asked, side="right") - begin[:, None]
        return found

    def with_others(self, rows: ndarray) -> Int64[ndarray, "rows answers"]:
        """The thing of each row, and then the user's other things; -1 fills the gaps."""
        begin, count = self.borders[self.user[rows]], np.diff(self.borders)[self.user[rows]]
        place = np.arange(int(count.max()))
        inside = place < count[:, None]
        mine = np.where(inside, self.chosen[np.where(inside, begin[:, None] + place, 0)], -1)
        mine[mine == self.thing[rows][:, None]] = -1
        return np.column_stack([self.thing[rows], mine])
