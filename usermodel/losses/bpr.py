"""Bayesian personalised ranking: a positive above each negative (Rendle et al. 2009, BPR-Opt)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import softplus

from usermodel.losses.positive_and_negatives import mean_over_rows


def bpr(
    events: Float[Tensor, "targets dim"],
    items: Float[Tensor, "classes dim"],
    target: Int64[Tensor, " targets"],
    ids: Int64[Tensor, "*rows n"],
    weight: Float[Tensor, "*rows n"] | None = None,
) -> Float[Tensor, ""]:
    """Mean of ``1/n sum over negatives i that are not the target of w_i softplus(s_i - s+)``.

    ``softplus(s_i - s+) = -log sigmoid(s+ - s_i)``. Deviation: the paper has one negative a row, drawn from what the user has
    not taken; here n of any distribution, of which those that should not count have the weight 0. Gradients of gradients are
    refused.

    Args:
        events: One vector per target; ``s`` is its product with a class.
        items: One vector per class.
        target: Class of each row.
        ids: Classes of the negatives, ``[n]`` for all rows or ``[targets, n]``.
        weight: Weight of each negative; None means 1.

    Returns:
        The mean over rows; 0 with zero gradient when there is no row.
    """
    weights = events.new_ones(()).expand(ids.shape) if weight is None else weight
    return mean_over_rows(_rule, events, items, target, ids, weights)


def _rule(positive: Tensor, negative: Tensor, weight: Tensor, hit: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    share = torch.where(hit, 0.0, weight / max(negative.shape[1], 1))
    behind = negative - positive[:, None]
    slopes = share * behind.sigmoid()
    return (share * softplus(behind)).sum(), -slopes.sum(1), slopes
