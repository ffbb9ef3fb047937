"""Losses of pairs for `usermodel.baselines.fit`: the package's losses of one positive and its negatives."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from usermodel.baselines.factors import PairBatch, PairLoss
from usermodel.losses.bpr import bpr
from usermodel.losses.rows_softmax import rows_softmax
from usermodel.losses.sampled import sampled_softmax


class Bpr(PairLoss):
    """`usermodel.losses.bpr.bpr` of each pair.

    Args:
        n_negatives: Items to draw.
        temperature: Scores are divided by it.
    """

    def __init__(self, n_negatives: int = 1, *, temperature: float = 1.0) -> None:
        super().__init__()
        self.n_negatives, self.temperature = n_negatives, temperature

    def forward(self, batch: PairBatch) -> Float[Tensor, ""]:
        """See `PairLoss`."""
        negatives, rows = batch.drawn()
        users = batch.users[batch.user_row] / self.temperature
        return bpr(users, batch.items, batch.item_row, rows, negatives.weight)


class SampledSoftmax(PairLoss):
    """`usermodel.losses.sampled.sampled_softmax` of each pair, corrected by the probabilities of the draws.

    Args:
        n_negatives: Items to draw.
        temperature: Scores are divided by it.
    """

    corrects: ClassVar[bool] = True

    def __init__(self, n_negatives: int = 256, *, temperature: float = 1.0) -> None:
        super().__init__()
        self.n_negatives, self.temperature = n_negatives, temperature

    def forward(self, batch: PairBatch) -> Float[Tensor, ""]:
        """See `PairLoss`."""
        negatives, rows = batch.drawn()
        assert negatives.log_q is not None
        users = batch.users[batch.user_row] / self.temperature
        return sampled_softmax(users, batch.items, batch.item_row, rows, negatives.log_q, negatives.weight)


class UserSoftmax(PairLoss):
    """`usermodel.losses.rows_softmax.rows_softmax`: the softmax over the catalogue for all items of each user, without negatives.

    Args:
        temperature: Scores are divided by it.
    """

    whole_users: ClassVar[bool] = True
    whole_catalogue: ClassVar[bool] = True

    def __init__(self, *, temperature: float = 1.0) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, batch: PairBatch) -> Float[Tensor, ""]:
        """See `PairLoss`."""
        some, row = torch.unique_consecutive(batch.user_row, return_inverse=True)
        return rows_softmax(batch.users[some] / self.temperature, batch.items, row, batch.item_row)
