"""Batches of pairs in seeded order, with the vectors and negatives that their loss needs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Int64
from numpy import ndarray
from torch import Tensor

from usermodel.baselines.factors import FactorModel, PairBatch, PairLoss, Tables
from usermodel.baselines.interactions import Interactions
from usermodel.loader import generator
from usermodel.negatives.protocol import DrawContext, Negatives, NegativeSampler


def order(pairs: Interactions, size: int, *, seed: int, epoch: int) -> list[Int64[ndarray, " batch"]]:
    """Pair numbers of each batch of an epoch: ``size`` pairs, the last batch may be smaller."""
    shuffled = generator(seed, "order", epoch).permutation(len(pairs))
    return np.split(shuffled, range(size, len(shuffled), size)) if len(pairs) else []


def order_users(pairs: Interactions, size: int, *, seed: int, epoch: int) -> list[Int64[ndarray, " batch"]]:
    """Pair numbers of each batch: all pairs of ``size`` users, user by user; users without any are left out."""
    lengths = np.diff(pairs.offsets)
    users = np.flatnonzero(lengths)
    users = generator(seed, "order", epoch).permutation(users)
    batches = np.split(users, range(size, len(users), size)) if len(users) else []
    return [_ranges(pairs.offsets[some], lengths[some]) for some in batches]


def _ranges(start: Int64[ndarray, " n"], lengths: Int64[ndarray, " n"]) -> Int64[ndarray, " total"]:
    first = np.cumsum(lengths) - lengths
    return np.repeat(start - first, lengths) + np.arange(lengths.sum())


@dataclass
class BatchMaker:
    """Makes batches for a model and a loss.

    Attributes:
        model: Whose vectors.
        loss: What for.
        sampler: Draws the negatives; None where the loss needs none.
        known: ``user * n_items + item - 1`` of the training pairs, sorted: such negatives get the weight 0 where each pair has
            its own; None keeps them.
    """

    model: FactorModel
    loss: PairLoss
    sampler: NegativeSampler | None
    known: Int64[Tensor, " all"] | None = None

    def __call__(self, user: Int64[Tensor, " pairs"], item: Int64[Tensor, " pairs"]) -> PairBatch:
        """The batch of some pairs: users from 0, items from 1."""
        if not self.model.reads_rows:
            tables = self.model.tables()
            drawn = self._draw(user, item, tables, user)
            rows = None if drawn is None else drawn.ids - 1
            return PairBatch(user, item, tables.users, tables.items, user, item - 1, drawn, rows)
        some, user_row = torch.unique(user, return_inverse=True)
        users = self.model.users(some + 1)
        drawn = self._draw(user, item, Tables(users, users[:0]), user_row)
        ids = item[:0] if drawn is None else drawn.ids
        if self.loss.whole_catalogue or len(item) + ids.numel() >= self.model.n_items:
            items, item_row, rows = self.model.items.vectors(), item - 1, ids - 1
        else:
            classes, place = torch.unique(torch.cat([item, ids.flatten()]), return_inverse=True)
            items = self.model.items(classes)
            item_row, rows = place[: len(item)], place[len(item) :].view_as(ids)
        return PairBatch(user, item, users, items, user_row, item_row, drawn, None if drawn is None else rows)

    def _draw(
        self,
        user: Int64[Tensor, " pairs"],
        item: Int64[Tensor, " pairs"],
        tables: Tables,
        row: Int64[Tensor, " pairs"],
    ) -> Negatives | None:
        if self.sampler is None:
            return None

        def vectors(index: Tensor | None) -> Tensor:
            if not self.model.reads_rows:
                found = tables.items if index is None else tables.items[index - 1]
            else:
                # A lazy optimiser brings rows up to date when they are read for a gradient.
                with torch.enable_grad():
                    found = self.model.items.vectors(index)
            return self.model.keys(found.detach())

        users = self.model.queries(tables.users.detach()[row])
        context = DrawContext(users, vectors, user)
        n = self.loss.n_negatives
        drawn = self.sampler.sample(item, context, n=n, log_q=self.loss.corrects)
        return drawn if drawn.is_shared or self.known is None else _without_known(drawn, user, self)


def _without_known(drawn: Negatives, user: Int64[Tensor, " pairs"], maker: BatchMaker) -> Negatives:
    """Weight 0 for what the user has taken."""
    known = maker.known
    assert known is not None
    key = user[:, None] * maker.model.n_items + drawn.ids - 1
    place = torch.searchsorted(known, key).clamp(max=len(known) - 1)
    new = (known[place] != key).float()
    return replace(drawn, weight=new if drawn.weight is None else drawn.weight * new)
