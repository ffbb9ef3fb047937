"""Random items: what a metric is worth when nothing is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor

from usermodel.events.splits import FittedOn, Split
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore


@dataclass(frozen=True)
class RandomItems:
    """Uniform scores; those of a user depend on the seed and on the user's place in the store, not on who else is scored.

    Attributes:
        n_items: Items that can be scored.
        seed: Of the draw.
        fitted_on: The split it was made for.
    """

    n_items: int
    seed: int = 0
    fitted_on: FittedOn | None = None

    @staticmethod
    def fit(store: SequenceStore, split: Split, labels: Examples, *, seed: int = 0) -> RandomItems:
        """Nothing is learned; ``labels`` change nothing."""
        del labels
        return RandomItems(store.n_items, seed, split.fitted_on)

    def scores(self, users: Int64[ndarray, " batch"]) -> Float[Tensor, "batch items"]:
        """See `usermodel.embedding_table.Scorer`."""
        draws = [np.random.default_rng((self.seed, int(user))).random(self.n_items) for user in users]
        return torch.from_numpy(np.array(draws).reshape(len(users), self.n_items)).float()
