"""Relevance from clicks that are missing not at random: the unbiased loss of Rel-MF and its clipped form; WMF as a case.

Source: Saito et al., "Unbiased Recommender Learning from Missing-Not-At-Random Implicit Feedback" (WSDM 2020), sections 3 and 4;
WMF: Hu, Koren & Volinsky (ICDM 2008) in its pointwise form. A click is exposure times relevance, so with the propensity
``theta = P(shown)`` the expectation of ``click / theta`` is the relevance, and that of the loss is the loss under relevance.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import softplus

#: ``squared``: of the sigmoid of the score, as in the released code; ``log``: cross-entropy, as in the paper.
PointLoss = Literal["squared", "log"]


def relevance_loss(
    score: Float[Tensor, "*rows"],
    clicked: Bool[Tensor, "*rows"],
    propensity: Float[Tensor, "*rows"] | None = None,
    weight: Float[Tensor, "*rows"] | None = None,
    *,
    clip: float = 0.0,
    point_loss: PointLoss = "squared",
    non_negative: bool = False,
) -> Float[Tensor, ""]:
    """Mean of ``w ((y / theta) d1 + (1 - y / theta) d0)`` over rows; ``d1`` and ``d0`` are losses of a relevant and another row.

    Squared: ``d1 = (1 - sigmoid(s))^2``, ``d0 = sigmoid(s)^2``. Log: ``d1 = -log sigmoid(s)``, ``d0 = -log sigmoid(-s)``.

    Args:
        score: ``s`` of each pair of user and item, any shape.
        clicked: ``y``.
        propensity: ``theta``, above 0 and at most 1; None means 1, the naive loss.
        weight: ``w``, None means 1; the mean remains one over rows. Without propensities, and with a weight for the rows that
            were not clicked, this is WMF.
        clip: ``M``: theta is at least that. 0 is without bias; a higher one trades bias for variance, which grows as 1 / theta.
        point_loss: Which d1 and d0.
        non_negative: The mean of the d0 part, which is negative for a click of low propensity and never in expectation, is cut
            at 0, as for positive and unlabelled data (Kiryo et al. 2017); then it gives no gradient. Off, the loss may be below 0.

    Returns:
        The mean; 0 with zero gradient where there is no row.
    """
    share = clicked.to(score.dtype)
    if propensity is not None:
        # A propensity that was rounded to 0 is none: 0 / 0 for a pair without a click would be no number.
        share = share / propensity.clamp(min=max(clip, torch.finfo(propensity.dtype).tiny))
    if point_loss == "squared":
        chance = torch.sigmoid(score)
        relevant, other = (1.0 - chance).square(), chance.square()
    else:
        relevant, other = softplus(-score), softplus(score)
    first, second = share * relevant, (1.0 - share) * other
    if weight is not None:
        first, second = weight * first, weight * second
    rest = second.sum()
    return (first.sum() + (rest.clamp(min=0.0) if non_negative else rest)) / max(score.numel(), 1)
