"""What is known about items beside their ids: categories and numbers, as vectors that are added to those of the items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import embedding_bag


@dataclass(frozen=True)
class ItemFeature:
    """One column of the items table.

    Attributes:
        name: Of the column.
        kind: ``codes``: some of the categories 1 to ``size``; ``numbers``: ``size`` numbers.
        size: Number of categories, or of numbers.
        width: Columns of ``values``: the most categories of one item, or ``size``.
        values: ``[n_items + 1, width]``, int32 with 0 = none, or float32; row 0 is that of the padding. None where only
            the shape is known: the values then come with the weights.
    """

    name: str
    kind: Literal["codes", "numbers"]
    size: int
    width: int
    values: Tensor | None = None


class ItemFeatures(nn.Module):
    """Sum over features of ``mean of the category vectors`` or ``W x``; an item of which nothing is known adds zeros.

    The values are buffers, so a saved encoder carries them and needs no store.
    """

    def __init__(self, features: Sequence[ItemFeature], n_items: int, dim: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList(_Column(feature, n_items, dim) for feature in features)

    def forward(self, index: Int64[Tensor, " n"]) -> Float[Tensor, "n dim"]:
        """Vectors of item indices, 0 to n_items."""
        return self.each(index).sum(0)

    def each(
        self, index: Int64[Tensor, " n"], *, value_dropout: float = 0.0
    ) -> Float[Tensor, "features n dim"]:
        """What every feature adds to the vectors of item indices, in their order.

        Args:
            index: Items, 0 to n_items.
            value_dropout: Probability with which each category is left out of an item that has several; the mean is over those
                that are left, and an item of which none is left has zeros.
        """
        return torch.stack([part(index, value_dropout) for part in self.parts])

    def tables(self) -> list[Tensor]:
        """The values behind each feature, as in `ItemFeature`."""
        return [cast("_Column", part).values for part in self.parts]


class _Column(nn.Module):
    values: Tensor

    def __init__(self, feature: ItemFeature, n_items: int, dim: int) -> None:
        super().__init__()
        self.codes = feature.kind == "codes"
        dtype = torch.int32 if self.codes else torch.float32
        empty = torch.zeros(n_items + 1, feature.width, dtype=dtype)
        self.register_buffer("values", empty if feature.values is None else feature.values)
        # Numbers have no constant of their own: one that all items share cannot tell them apart.
        self.weights = (
            nn.Embedding(feature.size + 1, dim, padding_idx=0)
            if self.codes
            else nn.Linear(feature.size, dim, bias=False)
        )

    def forward(self, index: Int64[Tensor, " n"], value_dropout: float = 0.0) -> Float[Tensor, "n dim"]:
        own = self.values[index]
        if not self.codes:
            numbers: Tensor = self.weights(own)
            return numbers
        if value_dropout and own.shape[1] > 1:
            several = (own != 0).sum(1, keepdim=True) > 1
            own = own * ~((torch.rand(own.shape, device=own.device) < value_dropout) & several)
        # Never [n, width, dim] in memory; 0 is no category, and adds nothing.
        total = embedding_bag(own.long(), self.weights.weight, mode="sum", padding_idx=0)
        return total / (own != 0).sum(1).clamp(min=1)[:, None]
