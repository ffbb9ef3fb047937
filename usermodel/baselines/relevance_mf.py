"""Rel-MF, its clipped form, plain matrix factorisation and WMF: one loss for `MatrixFactorization`, two ways to sum it.

Source: Saito et al. (WSDM 2020); the loss itself is `usermodel.losses.relevance.relevance_loss`. `AllPairs` sums over every item of
each user in a batch, which is the published formula. `SampledPairs` is for catalogues where that is too much: as in the released
code clicked pairs and others come in fixed proportions, so that clicks weigh more than the formula says.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int64
from pydantic import Field
from torch import Tensor

from usermodel.baselines.factors import PairBatch, PairLoss
from usermodel.config import Config
from usermodel.errors import ConfigError
from usermodel.losses.relevance import PointLoss, relevance_loss
from usermodel.store.propensity import Propensity


class RelevanceConfig(Config):
    """What is computed of each pair.

    Attributes:
        clip: Lower bound of propensities; 0 is Rel-MF, without bias.
        point_loss: ``squared`` or ``log``.
        non_negative: Whether the part of the pairs that are not relevant is cut at 0.
        unclicked_weight: Of pairs without a click. Below 1 and without propensities: WMF.
    """

    clip: float = Field(default=0.0, ge=0, le=1)
    point_loss: PointLoss = "squared"
    non_negative: bool = False
    unclicked_weight: float = Field(default=1.0, gt=0)


def _sensible(propensity: Propensity | None, config: RelevanceConfig | None) -> RelevanceConfig:
    """The options; a bound of propensities only where there are any."""
    config = config or RelevanceConfig()
    if propensity is None and config.clip:
        do = "Hand over propensities, or leave clip out."
        raise ConfigError("clip", expected="propensities to bound", found="none", do=do)
    return config


class _Theta(torch.nn.Module):
    """Propensities of pairs, on the device of the loss; None stands for 1."""

    def __init__(self, propensity: Propensity | None) -> None:
        super().__init__()
        one = torch.ones(0)
        self.known, self.floor = propensity is not None, propensity.floor if propensity else 0.0
        self.register_buffer("item", torch.from_numpy(propensity.item).float() if propensity else one)
        self.register_buffer("user", torch.from_numpy(propensity.user).float() if propensity else one)

    def forward(self, user: Int64[Tensor, "*#rows"], item: Int64[Tensor, "*#rows"]) -> Tensor | None:
        """Users from 0, items from 1; shapes that broadcast."""
        if not self.known:
            return None
        users, items = self.get_buffer("user"), self.get_buffer("item")
        return (users[user] * items[item]).clamp(min=self.floor)


class AllPairs(PairLoss):
    """Mean over all items of the users of a batch; a user without any training pair is in none.

    Args:
        propensity: Theta; None is the naive loss, 1 for every pair.
        config: See there.

    Raises:
        ConfigError: A clip without propensities.
    """

    whole_users: ClassVar[bool] = True
    whole_catalogue: ClassVar[bool] = True

    def __init__(self, propensity: Propensity | None = None, config: RelevanceConfig | None = None) -> None:
        super().__init__()
        self.theta, self.config = _Theta(propensity), _sensible(propensity, config)

    def forward(self, batch: PairBatch) -> Float[Tensor, ""]:
        """See `PairLoss`."""
        user, place = torch.unique(batch.user, return_inverse=True)
        row = torch.zeros_like(user).scatter_(0, place, batch.user_row)
        score = batch.users[row] @ batch.items.T
        clicked = torch.zeros_like(score, dtype=torch.bool)
        clicked[place, batch.item_row] = True
        item = torch.arange(1, score.shape[1] + 1, device=score.device)
        theta = self.theta(user[:, None], item[None])
        return _loss(score, clicked, theta, None, self.config)


class SampledPairs(PairLoss):
    """Mean over pairs and, for each, ``n_negatives`` drawn items.

    Args:
        propensity: Theta; None is the naive loss, 1 for every pair.
        config: See there.
        n_negatives: Items to draw; 1 makes half of the rows clicked, as in the released code.

    Raises:
        ConfigError: A clip without propensities.
    """

    def __init__(
        self,
        propensity: Propensity | None = None,
        config: RelevanceConfig | None = None,
        *,
        n_negatives: int = 1,
    ) -> None:
        super().__init__()
        self.theta, self.config = _Theta(propensity), _sensible(propensity, config)
        self.n_negatives = n_negatives

    def forward(self, batch: PairBatch) -> Float[Tensor, ""]:
        """See `PairLoss`."""
        drawn, rows = batch.drawn()
        shape = (len(batch), rows.shape[-1])
        ids = torch.cat([batch.item[:, None], drawn.ids.expand(shape)], 1)
        places = torch.cat([batch.item_row[:, None], rows.expand(shape)], 1)
        vectors = batch.items[places]
        score = torch.bmm(vectors, batch.users[batch.user_row][:, :, None])[..., 0]
        clicked = torch.zeros_like(score, dtype=torch.bool)
        clicked[:, 0] = True
        theta = self.theta(batch.user[:, None], ids)
        weight = torch.ones_like(score)
        if drawn.weight is not None:
            weight[:, 1:] = drawn.weight
        # A draw that is the pair's own item is no pair without a click.
        weight[:, 1:].masked_fill_(places[:, 1:] == places[:, :1], 0.0)
        return _loss(score, clicked, theta, weight, self.config)


def _loss(
    score: Float[Tensor, "rows n"],
    clicked: Bool[Tensor, "rows n"],
    theta: Tensor | None,
    weight: Tensor | None,
    config: RelevanceConfig,
) -> Float[Tensor, ""]:
    if config.unclicked_weight != 1.0:
        factor = torch.where(clicked, 1.0, config.unclicked_weight)
        weight = factor if weight is None else weight * factor
    return relevance_loss(
        score,
        clicked,
        theta,
        weight,
        clip=config.clip,
        point_loss=config.point_loss,
        non_negative=config.non_negative,
    )
