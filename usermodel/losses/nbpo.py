"""Pointwise learning with noisy negatives: BPO, and NBPO in three forms.

Source: Yu & Qin, "Sampler Design for Implicit Feedback Data by Noisy-label Robust Learning" (SIGIR 2020). A row that was seen
as negative may be a positive whose label flipped; its flip score ``g`` is learned beside its relevance score ``r``:

    sigmoid(g) = P(seen as negative | truly positive)
    positive row: sigmoid(-g) sigmoid(r)        negative row: sigmoid(-r) + sigmoid(g) sigmoid(r)

Deviation: the loss is a mean over rows, where theirs is a sum; that is a matter of the learning rate.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

#: ``surrogate``: NBPO; ``likelihood``: NBPO-o, the logarithm; ``probability``: NBPO-s, the probability itself.
Form = Literal["surrogate", "likelihood", "probability"]


def bpo(
    positive: Float[Tensor, "*positives"],
    negative: Float[Tensor, "*negatives"],
    weight: Float[Tensor, "*negatives"] | None = None,
) -> Float[Tensor, ""]:
    """Mean of ``-log sigmoid(r)`` over positives and ``-log sigmoid(-r)`` over negatives, all rows alike.

    Args:
        positive: Relevance scores of rows seen as positive, any shape.
        negative: Those of rows seen as negative, any shape.
        weight: How much each negative counts, None means 1; the mean remains one over all rows.

    Returns:
        The mean; 0 with zero gradient where there is no row.
    """
    return _mean(logsigmoid(positive), logsigmoid(-negative), weight)


def nbpo(
    positive: Float[Tensor, "*positives"],
    negative: Float[Tensor, "*negatives"],
    positive_flip: Float[Tensor, "*positives"],
    negative_flip: Float[Tensor, "*negatives"],
    weight: Float[Tensor, "*negatives"] | None = None,
    *,
    form: Form = "surrogate",
) -> Float[Tensor, ""]:
    """Minus the mean of what a form maximises, over all rows.

    Where all flip scores tend to minus infinity no label is noisy, and ``likelihood`` is `bpo`, bit for bit, and so is the
    gradient of ``surrogate`` with respect to the relevance scores.

    Args:
        positive: Relevance scores of rows seen as positive, any shape.
        negative: Those of rows seen as negative, any shape.
        positive_flip: Flip scores of the first.
        negative_flip: Flip scores of the second.
        weight: As in `bpo`.
        form: ``likelihood`` and ``probability`` are what they say. ``surrogate`` replaces the gradient of the likelihood: each
            factor's logarithm is weighted by the other factor, held fixed. Ascent is then along

            positive ``dr = sigmoid(-g) sigmoid(-r)``, ``dg = -sigmoid(g) sigmoid(r)``,
            negative ``dr = sigmoid(g) sigmoid(-r) - sigmoid(r)``, ``dg = sigmoid(-g) sigmoid(r)``,

            and the value of the loss is no likelihood: compare runs by the other two.

    Returns:
        The mean; 0 with zero gradient where there is no row.
    """
    if form == "surrogate":
        kept, hidden = torch.sigmoid(-positive_flip).detach(), torch.sigmoid(negative_flip).detach()
        liked, likes = torch.sigmoid(positive).detach(), torch.sigmoid(negative).detach()
        first = kept * logsigmoid(positive) + liked * logsigmoid(-positive_flip)
        second = logsigmoid(-negative) + hidden * logsigmoid(negative) + likes * logsigmoid(negative_flip)
        return _mean(first, second, weight)
    first = logsigmoid(positive) + logsigmoid(-positive_flip)
    second = torch.logaddexp(logsigmoid(-negative), logsigmoid(negative) + logsigmoid(negative_flip))
    if form == "probability":
        first, second = first.exp(), second.exp()
    return _mean(first, second, weight)


def flip_posterior(score: Float[Tensor, "*rows"], flip: Float[Tensor, "*rows"]) -> Float[Tensor, "*rows"]:
    """``sigmoid(g) sigmoid(r) / (sigmoid(-r) + sigmoid(g) sigmoid(r))``: P(truly positive | seen as negative).

    Written as ``sigmoid(r + log sigmoid(g))``, which is the same and neither overflows nor divides 0 by 0. One minus it is
    the weight of a drawn negative in other losses.
    """
    return torch.sigmoid(score + logsigmoid(flip))


def _mean(positive: Tensor, negative: Tensor, weight: Tensor | None) -> Tensor:
    """Minus the mean over all rows of both."""
    rows = positive.numel() + negative.numel()
    negative = negative if weight is None else weight * negative
    return -(positive.sum() + negative.sum()) / max(rows, 1)
