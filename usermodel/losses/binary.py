"""Binary cross-entropy of one positive and n negatives, and its generalisation gBCE.

Source: SASRec (Kang & McAuley 2018, section III.E) for one negative; gSASRec (Petrov & Macdonald 2023, arXiv 2308.07192,
section 5) for n of them and for gBCE. Deviations: the gradient of a negative that is the row's own positive is zero,
where their code pushes the target down; the power of the sigmoid is a factor of its logarithm, where their code takes
detours through float64; and scores may be measured from the log-odds of a constant, as classifiers of rare classes begin
(Lin et al. 2017, arXiv 1708.02002, section 4.1). Without, all scores must fall first, which the vectors of users do together:
in large batches they meet in one point and stay there.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import softplus

from usermodel.losses.positive_and_negatives import mean_over_rows


def binary_cross_entropy(
    events: Float[Tensor, "targets dim"],
    items: Float[Tensor, "classes dim"],
    target: Int64[Tensor, " targets"],
    ids: Int64[Tensor, "*rows n"],
    weight: Float[Tensor, "*rows n"] | None = None,
    *,
    beta: float = 1.0,
    log_odds: float = 0.0,
) -> Float[Tensor, ""]:
    """Mean of ``-(log sigmoid(s+)^beta + sum_i w_i log(1 - sigmoid(s_i))) / (n + 1)``.

    Gradients of gradients are refused.

    Args:
        events: One vector per target; ``s`` is its product with a class.
        items: One vector per class.
        target: Class of each row.
        ids: Classes drawn, ``[n]`` for all rows or ``[targets, n]``.
        weight: Weight of each draw; None means 1.
        beta: Power of the positive's sigmoid, see `gbce_beta`; 1 is plain binary cross-entropy.
        log_odds: Added to every score, which changes no order; see `prior_log_odds`.

    Returns:
        The mean over rows; 0 with zero gradient when there is no row.
    """

    def rule(positive: Tensor, negative: Tensor, each: Tensor, hit: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        share = 1.0 / (negative.shape[1] + 1)
        positive, negative = positive + log_odds, negative + log_odds
        each = (each * share).expand_as(negative).masked_fill(hit, 0.0)
        loss = beta * share * softplus(-positive).sum() + (each * softplus(negative)).sum()
        return loss, -beta * share * torch.sigmoid(-positive), each * torch.sigmoid(negative)

    extra = torch.ones_like(ids, dtype=events.dtype) if weight is None else weight
    return mean_over_rows(rule, events, items, target, ids, extra)


def prior_log_odds(n_negatives: int, beta: float = 1.0) -> float:
    """Where the loss of one score for all is least, draws of weight 1: ``log(beta / n)``; 0 for one negative without ``beta``, or none."""
    return math.log(beta / n_negatives) if n_negatives and beta > 0 else 0.0


def gbce_beta(n_negatives: int, n_items: int, calibration: float) -> float:
    """``beta = alpha (t (1 - 1/alpha) + 1/alpha)``, which is ``1 - t (1 - alpha)``.

    Args:
        n_negatives: Negatives per positive.
        n_items: Size of the catalogue; ``alpha = n_negatives / (n_items - 1)`` is the sampling rate, 1 at most.
        calibration: ``t``: 0 is plain binary cross-entropy, 1 makes the sigmoid of a score a calibrated probability.
    """
    alpha = min(1.0, n_negatives / max(n_items - 1, 1))
    return 1.0 - calibration * (1.0 - alpha)
