"""Negatives of the target's own category: harder ones, which differ from it in less."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import torch
from jaxtyping import Int64
from numpy import ndarray
from pydantic import Field
from torch import Tensor

from usermodel.errors import DataError, nearest
from usermodel.events.splits import Split
from usermodel.negatives.alias import look_up
from usermodel.negatives.protocol import DrawContext, KnownLaw, Negatives, NegativesConfig
from usermodel.schema import ITEM
from usermodel.store.sequence_store import SequenceStore
from usermodel.store.table_input import ITEM_INDEX


class CategoryConfig(NegativesConfig):
    """Some from the target's category, the others from everywhere; drawn anew for each event.

    Attributes:
        column: Of the store's items table: text, booleans or whole numbers. Items without a value, or without a row, form one
            category.
        share: Probability that a draw is from the target's category.
    """

    column: str = "category"
    share: float = Field(default=0.5, gt=0, le=1)

    def build(self, store: SequenceStore, split: Split) -> Category:
        """Read the categories.

        Raises:
            DataError: The store has no items table or no such column, or the column holds no categories.
        """
        del split
        return Category(read_categories(store, self.column), share=self.share)


class Category(KnownLaw):
    """``q(item | target) = share [same category] / size of the category + (1 - share) / n_items``.

    Args:
        category: Number of the category of each item, from 0 without gaps; entry 0 is item 1.
        share: Of draws from the target's category.
    """

    category: Tensor
    members: Tensor
    start: Tensor
    size: Tensor
    log_same: Tensor

    def __init__(self, category: Int64[ndarray, " items"], *, share: float = 0.5) -> None:
        super().__init__()
        self.share, n_items = share, len(category)
        size = np.bincount(category)
        tables = {
            # Entry 0 is padding, which is never drawn.
            "category": np.concatenate([[0], category]),
            # All items, those of a category together: from everywhere is then a range like any other.
            "members": np.argsort(category, kind="stable") + 1,
            "start": np.cumsum(size) - size,
            "size": size,
            "log_same": np.log(share / size + (1 - share) / n_items).astype(np.float32),
        }
        for name, values in tables.items():
            self.register_buffer(name, torch.from_numpy(values), persistent=False)
        self.log_other = math.log((1 - share) / n_items) if share < 1 else -math.inf

    def sample(
        self,
        positives: Int64[Tensor, " events"],
        context: DrawContext,
        *,
        n: int,
        generator: torch.Generator | None = None,
        log_q: bool = True,
    ) -> Negatives:
        """See `NegativeSampler.sample`; never shared."""
        shape, device = (len(positives), n), positives.device
        # To 24 bits: the share is met to within 2^-24.
        own = torch.rand(shape, generator=generator, device=device) < self.share
        category = self.category[positives][:, None]
        first = self.start[category] * own
        among = torch.where(own, self.size[category], len(self.members))
        # Words of 63 bits modulo a size: no item is off by more than size / 2^63 of its probability.
        word = torch.empty(shape, dtype=torch.int64, device=device).random_(generator=generator)
        ids = look_up(self.members, word.remainder_(among).add_(first))
        return Negatives(ids, self.log_q_of(ids, positives, context) if log_q else None)

    def log_q_of(
        self, ids: Int64[Tensor, "*rows n"], positives: Int64[Tensor, " events"], context: DrawContext
    ) -> Tensor:
        """See `KnownLaw.log_q_of`."""
        del context
        wanted = self.category[positives][:, None]
        return torch.where(look_up(self.category, ids) == wanted, self.log_same[wanted], self.log_other)


def read_categories(store: SequenceStore, column: str) -> Int64[ndarray, " items"]:
    """Number of the category of each item, from 0 without gaps; items without one share a number.

    Raises:
        DataError: No such table or column, or values that are no categories.
    """
    table = store.table("items")
    where = f"{store.path}, table items"
    if column not in table.columns or column in (ITEM, ITEM_INDEX):
        known = [name for name in table.columns if name not in (ITEM, ITEM_INDEX)]
        found = f"the columns {', '.join(map(repr, known))}" if known else "no columns beside the ids"
        raise DataError(where, expected=f"a column {column!r}", found=found, do=nearest(column, known))
    kind = table[column].dtype
    if not (kind.is_integer() or kind in (pl.String, pl.Categorical, pl.Enum, pl.Boolean)):
        do = "Name a column of text, booleans or whole numbers."
        raise DataError(
            f"{where}: column {column!r}", expected="categories", found=f"values of {kind}", do=do
        )
    found_at = table.filter(pl.col(column).is_not_null() & (pl.col(column).cast(pl.String) != ""))
    category = np.zeros(store.n_items, dtype=np.int64)
    category[found_at[ITEM_INDEX].to_numpy() - 1] = found_at[column].rank("dense").to_numpy()
    # Without gaps: 0 is there only if some item has no category.
    return np.unique(category, return_inverse=True)[1]
