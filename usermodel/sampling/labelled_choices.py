"""What users chose, one example a choice, with things they did not choose beside it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from jaxtyping import Int64
from numpy import ndarray
from pydantic import Field, model_validator

from usermodel.errors import DataError, nearest
from usermodel.events.splits import Split
from usermodel.sampling.labelled_users import shuffled_part
from usermodel.sampling.protocol import Examples, Part, SamplerConfig
from usermodel.sampling.recent import latest
from usermodel.store.sequence_store import SequenceStore
from usermodel.store.table_input import USER_ROW


class LabelledChoicesConfig(SamplerConfig):
    """One example for each row of the labels table: the user's last ``max_history`` training events, and what was chosen.

    Things need not be items of the store. The rows, shuffled, are cut into parts like the users of `LabelledUsersConfig`, so one
    user's choices are spread over the parts, as in the released code of AdaptSSR (Yu et al. 2023).

    Attributes:
        column: Of the labels table: what was chosen.
        task: Only rows with this value in the column ``task``; None means all rows.
        negatives: Things beside each choice that the user never chose in any part, drawn uniformly, anew in each epoch.
        train: Share of the rows that trains.
        valid: Share that validates; the others are tested.
        seed: Of the shuffle.
    """

    column: str = "target"
    task: str | None = None
    negatives: int = Field(default=1, ge=1)
    train: float = Field(default=0.6, gt=0, lt=1)
    valid: float = Field(default=0.2, gt=0, lt=1)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _some_are_tested(self) -> LabelledChoicesConfig:
        if self.train + self.valid >= 1:
            raise ValueError(f"train + valid below 1, got {self.train} + {self.valid}")
        return self

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
        rows = self._rows(choices, split, "train")
        negatives = choices.others(rows, self.negatives, rng)
        label = np.column_stack([choices.thing[rows], negatives])
        return replace(latest(store, split, choices.user[rows], max_history), label=label)

    def held_out(self, store: SequenceStore, split: Split, part: Part, max_history: int) -> Examples:
        """Labels are the choice and then the user's other choices, of all parts.

        Raises:
            DataError: The part is empty.
        """
        choices = self._choices(store)
        rows = self._rows(choices, split, part)
        if not len(rows):
            expected, do = f"labels in the {part} part", "Bring more of them."
            raise DataError(str(store.path), expected=expected, found="none", do=do)
        return replace(latest(store, split, choices.user[rows], max_history), label=choices.with_others(rows))

    def _rows(self, choices: _Choices, split: Split, part: str) -> Int64[ndarray, " rows"]:
        rows = shuffled_part(len(choices.user), part, self.train, self.valid, self.seed)
        user = choices.user[rows]
        kept: ndarray = rows[split.train_stop[user] > split.start[user]]
        return kept

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
        thing = table[self.column].cast(pl.String)
        table = table.select(USER_ROW, thing.alias("thing")).filter(thing.is_not_null())
        things = table["thing"].unique().sort()
        if len(things) < 2:
            expected, found = "at least two things to choose from", f"{len(things)}"
            do = "Look at sampling.task and sampling.column."
            raise DataError(f"{store.path}, table labels", expected=expected, found=found, do=do)
        code = table["thing"].replace_strict(things, pl.int_range(len(things), eager=True))
        return _Choices.of(table[USER_ROW].cast(pl.Int64).to_numpy(), code.to_numpy(), tuple(things))


@dataclass(frozen=True)
class _Choices:
    """Rows of the table, and for each user the things chosen, each once.

    Attributes:
        user: Of each row.
        thing: Of each row, from 0.
        things: Their names.
        chosen: Things of all users, user by user and sorted.
        borders: Where each user's begin in ``chosen``.
    """

    user: Int64[ndarray, " rows"]
    thing: Int64[ndarray, " rows"]
    things: tuple[str, ...]
    chosen: Int64[ndarray, " pairs"]
    borders: Int64[ndarray, " users+1"]

    @staticmethod
    def of(user: ndarray, thing: ndarray, things: tuple[str, ...]) -> _Choices:
        pairs = np.unique(user * len(things) + thing)
        count = np.bincount(pairs // len(things), minlength=int(user.max()) + 1)
        return _Choices(user, thing, things, pairs % len(things), np.concatenate([[0], np.cumsum(count)]))

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
