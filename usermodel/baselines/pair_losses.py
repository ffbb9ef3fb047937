"""Losses of pairs for `usermodel.baselines.fit`: the package's losses of one positive and its negatives."""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from usermodel.baselines.factors import PairBatch, PairLoss
from usermodel.losses.bpr import bpr
from usermodel.losses.sampled import sampled_softmax


class Bpr(PairLoss):
    """`usermodel.losses.bpr.bpr` of each pair.

    Args:
        n_negatives: Items to draw.
    """

    def __init__(self, n_negatives: int = 1) -> None:
        super().__init__()
        self.n_negatives = n_negatives

    def forward(self, batch: PairBatch) -> Float[Tensor, ""]:
        """See `PairLoss`."""
        negatives, rows = batch.drawn()
        return bpr(batch.users[batch.user_row], batch.items, batch.item_row, rows, negatives.weight)


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
