"""Users whose class is known, as examples with a label."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from usermodel.errors import DataError
from usermodel.events.splits import Split
from usermodel.sampling.parts import PartsConfig
from usermodel.sampling.protocol import Examples, Part, SamplerConfig
from usermodel.sampling.recent import latest
from usermodel.store.attributes import Attribute, read_attribute
from usermodel.store.sequence_store import SequenceStore


class LabelledUsersConfig(SamplerConfig):
    """One example for each user with a class: the last ``max_history`` events of the training part, and the class.

    The users with a class are cut into parts, see `PartsConfig`.

    Attributes:
        column: Of the users table, or of ``file``; see `usermodel.store.attributes`.
        file: Parquet or CSV with ``user_id`` and the column; None means the users table of the store.
        parts: Shares of the users that train, validate and test.
    """

    column: str = "label"
    file: str | None = None
    parts: PartsConfig = PartsConfig()

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
        rows = self.parts.rows(len(known), part)
        # Without a training event there is nothing to read.
        rows = rows[split.train_stop[known.user[rows]] > split.start[known.user[rows]]]
        examples = latest(store, split, known.user[rows], max_history)
        return replace(examples, label=known.code[rows][:, None])
