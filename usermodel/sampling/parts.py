"""Rows of labels in a training, a validation and a test part."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64
from numpy import ndarray
from pydantic import Field, model_validator

from usermodel.config import Config


class PartsConfig(Config):
    """The rows, shuffled, cut by shares: sizes are rounded down, and the test part takes what is left.

    As in the released code of AdaptSSR (Yu et al. 2023), where it is 6:2:2; its shuffle is another.

    Attributes:
        train: Share of the rows that trains.
        valid: Share that validates; the others are tested.
        seed: Of the shuffle; ``training.seed`` has no influence, so that several runs have the same parts.
    """

    train: float = Field(default=0.6, gt=0, lt=1)
    valid: float = Field(default=0.2, gt=0, lt=1)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _some_are_tested(self) -> PartsConfig:
        if self.train + self.valid >= 1:
            raise ValueError(f"train + valid below 1, got {self.train} + {self.valid}")
        return self

    def rows(self, n: int, part: str) -> Int64[ndarray, " rows"]:
        """Which of ``n`` rows are in a part, rising."""
        order = np.random.default_rng(self.seed).permutation(n)
        borders = [int(n * self.train), int(n * self.train) + int(n * self.valid)]
        return np.sort(np.split(order, borders)[("train", "valid", "test").index(part)])
