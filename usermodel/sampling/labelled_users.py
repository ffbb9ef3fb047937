"""Users whose class is known, as examples with a label."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from numpy import ndarray
from pydantic import Field, model_validator

from usermodel.errors import DataError
from usermodel.events.splits import Split
from usermodel.sampling.protocol import Examples, Part, SamplerConfig
from usermodel.sampling.recent import latest
from usermodel.store.attributes import Attribute, read_attribute
from usermodel.store.sequence_store import SequenceStore


class LabelledUsersConfig(SamplerConfig):
    """One example for each user with a class: the last ``max_history`` events of the training part, and the class.

    The users with a class, shuffled, are cut into a training, a validation and a test part; sizes are rounded down, and the test
    part takes what is left, as in the released code of AdaptSSR (Yu et al. 2023), where it is 6:2:2. Its shuffle is another.

    Attributes:
        column: Of the users table, or of ``file``; see `usermodel.store.attributes`.
        file: Parquet or CSV with ``user_id`` and the column; None means the users table of the store.
        train: Share of the users that trains.
        valid: Share that validates; the others are tested.
        seed: Of the shuffle; ``training.seed`` has no influence, so that several runs have the same parts.
    """

    column: str = "label"
    file: str | None = None
    train: float = Field(default=0.6, gt=0, lt=1)
    valid: float = Field(default=0.2, gt=0, lt=1)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _some_are_tested(self) -> LabelledUsersConfig:
        if self.train + self.valid >= 1:
            raise ValueError(f"train + valid below 1, got {self.train} + {self.valid}")
        return self

    @property
    def draws_labels(self) -> bool:
        """Always."""
        return True

    def answers(self, store: SequenceStore) -> tuple[str, ...]:
        """The classes."""
        return self._attribute(store).classes

    def sample(
        self, store: SequenceStore, split: Split, *, max_history: int, rng: np.random.Generator
    ) -> Examples:
        """The users of the training part; ``rng`` is not used."""
        del rng
        return self._part(store, split, "train", max_history)

    def held_out(self, store: SequenceStore, split: Split, part: Part, max_history: int) -> Examples:
        """The users of another part.

        Raises:
            DataError: It has none.
        """
        found = self._part(store, split, part, max_history)
        if not len(found):
            expected, do = f"users with {self.column!r} in the {part} part", "Label more users."
            raise DataError(str(store.path), expected=expected, found="none", do=do)
        return found

    def _attribute(self, store: SequenceStore) -> Attribute:
        return read_attribute(store, self.column, None if self.file is None else Path(self.file))

    def _part(self, store: SequenceStore, split: Split, part: str, max_history: int) -> Examples:
        known = self._attribute(store)
        rows = shuffled_part(len(known), part, self.train, self.valid, self.seed)
        # Without a training event there is nothing to read.
        rows = rows[split.train_stop[known.user[rows]] > split.start[known.user[rows]]]
        examples = latest(store, split, known.user[rows], max_history)
        return replace(examples, label=known.code[rows][:, None])


def shuffled_part(n: int, part: str, train: float, valid: float, seed: int) -> Int64[ndarray, " rows"]:
    """Which of ``n`` rows are in a part, rising."""
    order = np.random.default_rng(seed).permutation(n)
    borders = [int(n * train), int(n * train) + int(n * valid)]
    return np.sort(np.split(order, borders)[("train", "valid", "test").index(part)])
