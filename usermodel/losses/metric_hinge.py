"""Collaborative metric learning: a hinge on squared distances, weighted by rank; and a penalty on covariance.

Source: Hsieh et al., "Collaborative Metric Learning" (WWW 2017), equations 1 to 3 and section 3.4.
"""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from usermodel.losses.warp import rank_weight


def metric_hinge(
    positive: Float[Tensor, " rows"],
    negative: Float[Tensor, "rows n"],
    hit: Bool[Tensor, "rows n"] | None = None,
    *,
    n_items: int,
    margin: float = 1.5,
) -> Float[Tensor, ""]:
    """Mean of ``log(rank + 1) * max(0, margin + d+ - min_i d_i)``.

    An impostor is a draw with ``margin + d+ - d_i > 0``; the rank is n_items times the share of impostors among the draws, and
    no gradient goes through it. Without an impostor the weight, and the loss of the row, is 0.

    Args:
        positive: Squared distance of each user to an item that was taken.
        negative: Those to n drawn items.
        hit: True where a draw is no negative, such as the row's own positive; None means nowhere.
        n_items: Items of the catalogue.
        margin: By how much, in squared distance, others are to be farther away.

    Returns:
        The mean over rows; 0 with zero gradient when there is no row.
    """
    if hit is not None:
        negative = negative.masked_fill(hit, float("inf"))
    excess = margin + positive[:, None] - negative
    each = negative.new_full((1, negative.shape[1]), float(n_items))
    weight = rank_weight(excess > 0, n_items, each)
    # The largest excess is that of the nearest draw.
    return (weight * excess.amax(1).clamp(min=0.0)).sum() / max(len(positive), 1)


def covariance_penalty(vectors: Float[Tensor, "n dim"]) -> Float[Tensor, ""]:
    """Sum of the squared covariances of different dimensions, over dim.

    0 exactly where no two dimensions correlate. Deviation: the released code adds up the covariances with their signs, which
    has no lower bound of its own, and the paper takes differences of norms; squares have both properties that are wanted.

    Args:
        vectors: Users and items together. Fewer than two give 0.
    """
    n, dim = vectors.shape
    centred = vectors - vectors.sum(0) / max(n, 1)
    covariance = centred.T @ centred / max(n, 1)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / dim
