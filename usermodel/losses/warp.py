"""WARP: a hinge weighted by the rank that sampled negatives say the positive has.

Source: Weston, Bengio & Usunier, "WSABIE" (IJCAI 2011). Deviations: negatives are drawn at once instead of one by one until one
violates the margin, so the rank is estimated from all draws (as in CML, Hsieh et al., WWW 2017) and has less variance; the
hinge is the mean over the violating draws, which is the expectation over the one that WSABIE would take; the weight of a rank is
``log(rank + 1)``, which the sum 1 + 1/2 + ... + 1/rank approaches up to a constant.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from usermodel.losses.positive_and_negatives import mean_over_rows


def rank_weight(
    violates: Bool[Tensor, "rows n"], n_items: int, count: Float[Tensor, "#rows n"] | None = None
) -> Float[Tensor, " rows"]:
    """``log(rank + 1)`` with rank estimated as n_items times the share of draws that violate the margin.

    Args:
        violates: Whether each draw does.
        n_items: Items of the catalogue, which is also the highest rank.
        count: How many items of the catalogue each draw stands for, ``1 / q``: with draws that are not uniform the estimate
            is then without bias too. None means n_items.

    Returns:
        0 where no draw violates.
    """
    stands_for = violates * (float(n_items) if count is None else count)
    return torch.log1p(stands_for.mean(1).clamp(max=float(n_items)))


def warp(
    events: Float[Tensor, "targets dim"],
    items: Float[Tensor, "classes dim"],
    target: Int64[Tensor, " targets"],
    ids: Int64[Tensor, "*rows n"],
    log_q: Float[Tensor, "*rows n"],
    weight: Float[Tensor, "*rows n"] | None = None,
    *,
    n_items: int,
    margin: float = 1.0,
) -> Float[Tensor, ""]:
    """Mean of ``log(rank + 1) * mean over violating draws of w_i (margin - s+ + s_i)``.

    A draw violates if ``margin - s+ + s_i > 0`` and it is not the row's own positive. No gradient goes through the rank.
    Gradients of gradients are refused.

    Args:
        events: One vector per target; ``s`` is its product with a class.
        items: One vector per class.
        target: Class of each row.
        ids: Classes drawn, ``[n]`` for all rows or ``[targets, n]``.
        log_q: Log of the true probability of each draw, for the rank.
        weight: Weight of each draw, in the rank and in the mean; None means 1.
        n_items: Items of the catalogue, which may be more than classes.
        margin: By how much a positive is to lead.

    Returns:
        The mean over rows; 0 with zero gradient when there is no row.
    """

    def rule(positive: Tensor, negative: Tensor, extra: Tensor, hit: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        each, count = extra.unbind(-1)
        excess = margin - positive[:, None] + negative
        violates = (excess > 0) & ~hit
        share = violates * each
        share = share / share.sum(1, keepdim=True).clamp(min=torch.finfo(share.dtype).tiny)
        slopes = rank_weight(violates, n_items, count)[:, None] * share
        return (slopes * excess).sum(), -slopes.sum(1), slopes

    each = torch.ones_like(log_q) if weight is None else weight
    return mean_over_rows(rule, events, items, target, ids, torch.stack([each, each * (-log_q).exp()], -1))
