"""InfoNCE between two views of the same examples, with false negatives left out.

van den Oord et al. 2018 (arXiv:1807.03748), with in-batch negatives as in SimCLR (Chen et al. 2020); the mask of examples that
share a label is that of ICSRec (Qin et al. 2024), in the form of its released code.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.functional import normalize

Similarity = Literal["dot", "cosine"]
Negatives = Literal["both", "other"]


def info_nce(
    first: Float[Tensor, "*groups n dim"],
    second: Float[Tensor, "*groups n dim"],
    label: Int64[Tensor, "*groups n"] | None = None,
    *,
    temperature: float = 1.0,
    similarity: Similarity = "dot",
    weight: Float[Tensor, "*groups n"] | None = None,
    negatives: Negatives = "both",
) -> Float[Tensor, ""]:
    """Mean over all ``2n`` rows of ``- log( exp(s_p) / (exp(s_p) + sum_j exp(s_j)) )``.

    ``s`` are similarities of a row with the rows of both views, or of the other one, divided by the temperature. ``p`` is the row's partner: the
    same example in the other view. ``j`` runs over the rows of the group but for the row itself, its partner, and, with
    labels, all rows with the row's own label: they are no negatives. A partner stays one whatever its label.

    Args:
        first: One vector per example; groups do not see each other.
        second: Its partner.
        label: What examples must not share to be negatives of each other.
        temperature: Divides the similarities.
        similarity: ``dot`` or ``cosine``.
        weight: Factor of the loss of each example, in both views; the mean remains one over rows. None means 1.
        negatives: Rows of ``both`` views (SimCLR), or of the ``other`` one: where views are so unlike, or within a view so like,
            that rows of the own view are no measure.

    Returns:
        The mean; 0 with zero gradient where there is no example. A row without negatives has loss 0.
    """
    n = first.shape[-2]
    rows = torch.cat([first, second], dim=-2)
    if not rows.numel():
        return rows.sum()
    if similarity == "cosine":
        rows = normalize(rows, dim=-1)
    scores = rows @ rows.mT / temperature
    partner = (rows[..., :n, :] * rows[..., n:, :]).sum(-1) / temperature
    partner = torch.cat([partner, partner], dim=-1)
    hidden = _no_negatives(n, label, rows.device)
    if negatives == "other":
        view = torch.arange(2 * n, device=rows.device) < n
        hidden = hidden | (view[:, None] == view)
    others = torch.logsumexp(scores.masked_fill(hidden, -math.inf), dim=-1)
    # The loss of a row as softplus(others - partner): without negatives that is exactly 0.
    losses = torch.nn.functional.softplus(others - partner)
    if weight is not None:
        losses = losses * torch.cat([weight, weight], dim=-1)
    return losses.mean()


def _no_negatives(
    n: int, label: Int64[Tensor, "*groups n"] | None, device: torch.device
) -> Bool[Tensor, "*groups rows rows"]:
    """Pairs of rows that are of the same example, or share a label."""
    if label is None:
        example = torch.arange(n, device=device).repeat(2)
        return example[:, None] == example
    both = torch.cat([label, label], dim=-1)
    return both[..., :, None] == both[..., None, :]
