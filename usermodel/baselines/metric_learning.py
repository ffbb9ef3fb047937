"""Collaborative metric learning: users and items as points of one ball; who is near is recommended (Hsieh et al., WWW 2017).

Item features pull items towards `usermodel.baselines.item_feature_map.ItemFeatureMap`. Deviation: the penalty on covariance is of
squares, see `usermodel.losses.metric_hinge`.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from usermodel.baselines.factors import FactorModel, Geometry, PairBatch, PairLoss
from usermodel.baselines.item_feature_map import ItemFeatureMap
from usermodel.losses.metric_hinge import covariance_penalty, metric_hinge


class MetricLearning(FactorModel):
    """Points of a ball; ``s(u, i) = u . i - |i|^2 / 2``, which orders items by their distance from u, nearest first.

    So an index of inner products finds the nearest items: users are searched as ``[u, 1]`` among items ``[i, -|i|^2 / 2]``.

    Args:
        n_users: Users.
        n_items: Items.
        dim: Width of a vector.
        std: Of the normal distribution that the points are drawn from, before those outside the ball are moved onto it.
        radius: No point is farther from the origin, at the start and after every step.
    """

    projects: ClassVar[bool] = True
    geometry: ClassVar[Geometry] = "distance"

    def __init__(
        self, n_users: int, n_items: int, dim: int = 64, *, std: float = 0.1, radius: float = 1.0
    ) -> None:
        super().__init__(n_users, n_items, dim, std=std)
        self.radius = radius
        self.after_step()

    @torch.no_grad()
    def after_step(
        self, users: Int64[Tensor, " rows"] | None = None, items: Int64[Tensor, " classes"] | None = None
    ) -> None:
        """Move points outside the ball onto it, see `FactorModel.after_step`."""
        for weight, rows in (
            (self.users.weight, None if users is None else users + 1),
            (self.items.weight, items),
        ):
            points = weight if rows is None else weight[rows]
            points = points * (self.radius / points.norm(dim=1, keepdim=True).clamp(min=self.radius))
            if rows is None:
                weight.copy_(points)
            else:
                weight[rows] = points

    def queries(self, users: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows width"]:
        """``[u, 1]``."""
        return torch.cat([users, users.new_ones(len(users), 1)], 1)

    def keys(self, items: Float[Tensor, "classes dim"]) -> Float[Tensor, "classes width"]:
        """``[i, -|i|^2 / 2]``."""
        return torch.cat([items, -0.5 * items.square().sum(1, keepdim=True)], 1)


class MetricHinge(PairLoss):
    """`metric_hinge` of pairs, the penalty on covariance of their vectors, and the pull of item features.

    Draws of weight 0 are no impostors; other weights are not for a minimum, and change nothing.

    Args:
        n_items: Items of the catalogue.
        n_negatives: Items to draw, of which the nearest counts.
        margin: In squared distance.
        covariance: Weight of `covariance_penalty` of the vectors that take part in a batch.
        features: Says where items should lie; trained along. None for items of which nothing is known but who took them.
        pull: Weight of the squared distance of an item to its place by features, mean over pairs (section 3.3).
    """

    geometry: ClassVar[Geometry] = "distance"

    def __init__(
        self,
        n_items: int,
        *,
        n_negatives: int = 20,
        margin: float = 1.5,
        covariance: float = 0.0,
        features: ItemFeatureMap | None = None,
        pull: float = 1.0,
    ) -> None:
        super().__init__()
        self.n_items, self.n_negatives = n_items, n_negatives
        self.margin, self.covariance = margin, covariance
        self.features, self.pull = features, pull

    def forward(self, batch: PairBatch) -> Float[Tensor, ""]:
        """See `PairLoss`."""
        drawn, rows = batch.drawn()
        users = batch.users[batch.user_row]
        positive = (users - batch.items[batch.item_row]).square().sum(1)
        negative = (users[:, None] - batch.items[rows]).square().sum(-1)
        hit = rows == batch.item_row[:, None]
        if drawn.weight is not None:
            hit = hit | (drawn.weight == 0)
        loss = metric_hinge(positive, negative, hit, n_items=self.n_items, margin=self.margin)
        if self.covariance:
            loss = loss + self.covariance * covariance_penalty(torch.cat([batch.users, batch.items]))
        if self.features is not None:
            loss = loss + self.pull * self.features.distance(batch.item, batch.items[batch.item_row])
        return loss
