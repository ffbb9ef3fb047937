"""NBPO: matrix factorisation beside a second one, which says how likely a positive was missed (Yu & Qin, SIGIR 2020).

Use `usermodel.baselines.matrix_factorization.MatrixFactorization` with `Nbpo` as its loss; `Bpo` is the same without flips.
Vectors of users and items then start from the model's own distribution, and flip vectors as in the released code: ``P = 5 x``,
``Q = -5 y`` with x, y uniform in [0, 1] over the root of their width, so that flip scores start near -6.25: nothing is noisy.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from usermodel.baselines.factors import PairBatch, PairLoss
from usermodel.losses.nbpo import Form, bpo, nbpo


class Bpo(PairLoss):
    """`usermodel.losses.nbpo.bpo` of pairs and their negatives.

    Args:
        n_negatives: Items to draw.
    """

    def __init__(self, n_negatives: int = 4) -> None:
        super().__init__()
        self.n_negatives = n_negatives

    def forward(self, batch: PairBatch) -> Float[Tensor, ""]:
        """See `PairLoss`."""
        users, (_, rows) = batch.users[batch.user_row], batch.drawn()
        positive, negative = _scores(users, batch.items[batch.item_row], batch.items[rows])
        return bpo(positive, negative, _weight(batch, negative))


class Nbpo(PairLoss):
    """`usermodel.losses.nbpo.nbpo` of pairs and their negatives, with the flip vectors as parameters of its own.

    Args:
        n_users: Users.
        n_items: Items.
        dim: Width of a flip vector.
        n_negatives: Items to draw.
        form: See `usermodel.losses.nbpo.nbpo`.
        flip_l2: Weight of half the squared norms of the flip vectors of a batch, over its pairs.

    Attributes:
        users: P, ``[n_users, dim]``.
        items: Q, ``[n_items, dim]``; row 0 is item 1.
    """

    def __init__(
        self,
        n_users: int,
        n_items: int,
        *,
        dim: int = 50,
        n_negatives: int = 4,
        form: Form = "surrogate",
        flip_l2: float = 0.0,
    ) -> None:
        super().__init__()
        self.n_negatives, self.form, self.flip_l2 = n_negatives, form, flip_l2
        scale = 5.0 / math.sqrt(dim)
        self.users = nn.Parameter(scale * torch.rand(n_users, dim))
        self.items = nn.Parameter(-scale * torch.rand(n_items, dim))

    def forward(self, batch: PairBatch) -> Float[Tensor, ""]:
        """See `PairLoss`."""
        users, (drawn, rows) = batch.users[batch.user_row], batch.drawn()
        positive, negative = _scores(users, batch.items[batch.item_row], batch.items[rows])
        own, taken, others = self.users[batch.user], self.items[batch.item - 1], self.items[drawn.ids - 1]
        flips = _scores(own, taken, others)
        loss = nbpo(positive, negative, *flips, _weight(batch, negative), form=self.form)
        if self.flip_l2:
            norms = own.square().sum() + taken.square().sum() + others.square().sum()
            loss = loss + 0.5 * self.flip_l2 * norms / max(len(batch), 1)
        return loss

    @torch.no_grad()
    def flip_scores(
        self, user: Int64[Tensor, " pairs"], item: Int64[Tensor, " pairs"]
    ) -> Float[Tensor, " pairs"]:
        """Flip scores of users (from 0) with items (from 1); `usermodel.losses.nbpo.flip_posterior` wants them."""
        return (self.users[user] * self.items[item - 1]).sum(1)


def _scores(users: Tensor, item: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Inner products of ``[pairs, dim]`` with their items, and with others, ``[n, dim]`` for all or ``[pairs, n, dim]``."""
    shared = others.dim() == 2
    negative = users @ others.T if shared else torch.bmm(others, users[:, :, None])[..., 0]
    return (users * item).sum(1), negative


def _weight(batch: PairBatch, negative: Tensor) -> Tensor:
    """That of the draws, and 0 where a draw is the pair's own item."""
    drawn, rows = batch.drawn()
    weight = torch.ones_like(negative) if drawn.weight is None else drawn.weight.expand_as(negative)
    return weight.masked_fill(rows == batch.item_row[:, None], 0.0)
