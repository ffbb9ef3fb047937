"""Sampled softmax: the sum over the catalogue is estimated from some negatives.

Source: Bengio & Senecal 2008 (importance sampling of the partition function); Yi et al. 2019, section 3 (the log-q
correction). The positive is always in the sum and therefore not corrected: it was not drawn. Khrylchenko et al. 2025
("Correcting the LogQ Correction") show that the usual way, which corrects it too, is biased. Deviation from theirs: a
negative that is the row's own positive is masked, so the rest of the sum needs no reweighting.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from usermodel.losses.positive_and_negatives import mean_over_rows


def sampled_softmax(
    events: Float[Tensor, "targets dim"],
    items: Float[Tensor, "classes dim"],
    target: Int64[Tensor, " targets"],
    ids: Int64[Tensor, "*rows n"],
    log_q: Float[Tensor, "*rows n"],
    weight: Float[Tensor, "*rows n"] | None = None,
) -> Float[Tensor, ""]:
    """Mean of ``-log(exp(s+) / Z)`` with ``Z = exp(s+) + 1/n sum over draws i that are not the target of w_i exp(s_i) / q_i``.

    ``Z`` is an unbiased estimate of the sum of ``exp(s)`` over all classes, and the loss tends to that of
    `usermodel.losses.softmax.full_softmax` as n grows. Gradients of gradients are refused.

    Args:
        events: One vector per target; ``s`` is its product with a class.
        items: One vector per class.
        target: Class of each row.
        ids: Classes drawn with replacement, ``[n]`` for all rows or ``[targets, n]``.
        log_q: Log of the true probability of each draw.
        weight: Weight of each draw; None means 1.

    Returns:
        The mean over rows; 0 with zero gradient when there is no row.
    """
    # No draw at all, where there is no row either.
    correction = -log_q - math.log(max(ids.shape[-1], 1))
    if weight is not None:
        correction = correction + weight.log()
    return mean_over_rows(_rule, events, items, target, ids, correction)


def _rule(
    positive: Tensor, negative: Tensor, correction: Tensor, hit: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    negative = (negative + correction).masked_fill_(hit, -math.inf)
    log_z = torch.logaddexp(positive, negative.logsumexp(1))
    return (
        (log_z - positive).sum(),
        torch.expm1(positive - log_z),
        negative.sub_(log_z[:, None]).exp_(),
    )
