"""Where an item should lie by what is known of it: places for items that nobody has taken yet.

Source: Hsieh et al., "Collaborative Metric Learning" (WWW 2017), section 3.3: ``sum_j |f(x_j) - v_j|^2`` with a multi-layer perceptron
f, trained with the vectors. Deviation: the mean over the pairs of a batch and not the sum, as everywhere here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from usermodel.baselines.factors import FactorModel
from usermodel.baselines.interactions import Interactions
from usermodel.errors import ConfigError
from usermodel.nn.item_features import ItemFeature, ItemFeatures


class ItemFeatureMap(nn.Module):
    """``W relu(sum of features) + b``, moved onto the ball where it is outside; dropout before W.

    Args:
        features: Columns of the items table, `usermodel.encoders.catalogue.read_item_features`.
        n_items: Items of the catalogue.
        dim: Width of an item's vector.
        hidden: Width of the sum: the mean vector of an item's categories, and a linear map of its numbers.
        dropout: Of the hidden numbers.
        radius: Of the ball.

    Raises:
        ConfigError: No feature.
    """

    def __init__(
        self,
        features: Sequence[ItemFeature],
        n_items: int,
        dim: int,
        *,
        hidden: int = 256,
        dropout: float = 0.2,
        radius: float = 1.0,
    ) -> None:
        super().__init__()
        if not features:
            do = "Read some of the items table, see read_item_features."
            raise ConfigError("features", expected="at least one column", found="none", do=do)
        self.radius = radius
        self.features = ItemFeatures(features, n_items, hidden)
        self.layers = nn.Sequential(nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, dim))

    def forward(self, index: Int64[Tensor, " n"]) -> Float[Tensor, "n dim"]:
        """Places of items 1 to n_items. Items of which nothing is known share one."""
        places: Tensor = self.layers(self.features(index))
        lengths: Tensor = places.norm(dim=1, keepdim=True)
        return places * (self.radius / lengths.clamp(min=self.radius))

    def distance(
        self, item: Int64[Tensor, " pairs"], vectors: Float[Tensor, "pairs dim"]
    ) -> Float[Tensor, ""]:
        """Mean squared distance of vectors to the places of their items; with a gradient to both."""
        known, place = torch.unique(item, return_inverse=True)
        places: Tensor = self(known)
        return (vectors - places[place]).square().sum() / max(len(item), 1)

    @torch.no_grad()
    def place_new(self, model: FactorModel, pairs: Interactions) -> Int64[np.ndarray, " new"]:
        """Put the items of a model that are in no pair where their features say; returns them, 1 to n_items."""
        new: np.ndarray = np.flatnonzero(pairs.item_counts == 0) + 1
        training = self.training
        self.eval()
        index = torch.from_numpy(new).to(model.items.weight.device)
        model.items.weight[index] = self(index)
        self.train(training)
        return new
