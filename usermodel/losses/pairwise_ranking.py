"""Multiple pairwise ranking of views: AdaptSSR (Yu et al., NeurIPS 2023, arXiv:2310.09706), after its released code.

A user's history under another dropout mask (implicit view) is to be more similar than another augmentation of it (explicit
view), and that one more similar than any view of another user. Only the order is asked for; how far apart is left open.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import logsigmoid, normalize

Fusion = Literal["batch", "sample"]
Constraints = Literal["both", "implicit", "explicit"]


@dataclass(frozen=True)
class RankingOptions:
    """What of the loss is switched on; the defaults are the released code.

    Attributes:
        fusion: The weight of the first constraint is 1 minus the mean similarity of explicit views, detached: over the
            ``batch`` (the code), or of each ``sample`` (the abstract of the paper). A number fixes it.
        hard_negatives: The hardest pair of each kind counts; otherwise the mean of its kind.
        constraints: ``both``; or ``implicit`` above explicit alone; or ``explicit`` above other users alone.
        smoothing: The maximum over other users is ``t log sum exp(s / t)`` with this t, so that all hard negatives pull and not the
            hardest alone, which lets the vectors collapse. None is the maximum; ours.
    """

    fusion: Fusion | float = "batch"
    hard_negatives: bool = True
    constraints: Constraints = "both"
    smoothing: float | None = None


@dataclass(frozen=True)
class RankingOutput:
    """The loss, and what it stands on.

    Attributes:
        loss: Mean over users and both anchors.
        weight: Mean weight of the first constraint.
        implicit_first: Share of pairs in which the implicit view is above the explicit one.
        explicit_first: Share of pairs in which an explicit view is above a view of another user; 0 for one user.
    """

    loss: Float[Tensor, ""]
    weight: Float[Tensor, ""]
    implicit_first: Float[Tensor, ""]
    explicit_first: Float[Tensor, ""]


def pairwise_ranking(
    views: Float[Tensor, "4 users dim"], options: RankingOptions | None = None
) -> RankingOutput:
    """The loss of two augmentations of each user, each encoded under two dropout masks.

    With cosines s: for anchor a, ``implicit = s(a, p)``, ``explicit = {s(a, s), s(a, t)}``, ``others`` = similarities of a
    with all four views of all other users:

    ``d1 = implicit - max(explicit)``, ``d2 = min(explicit) - max(others)``,
    ``loss_a = - mean log sigmoid(w d1 + (1 - w) d2)`` with ``w = 1 - mean(explicit)``, not clamped.

    The loss is the mean over anchors a and s; for s the two augmentations change places.

    Args:
        views: ``a, p`` (first augmentation, two dropout masks) and ``s, t`` (second one); lengths do not matter.
        options: See there.

    Returns:
        A loss of 0 with zero gradient for no user. For one user there are no others, and ``d2`` is left out.
    """
    options = options or RankingOptions()
    _, users, _ = views.shape
    if not users:
        nothing = views.sum()
        return RankingOutput(nothing, nothing.detach(), nothing.detach(), nothing.detach())
    unit = normalize(views, dim=-1)
    # Rows: anchors a and s; columns: all views of all users.
    scores = torch.einsum("aud,vwd->auvw", unit[::2], unit)
    same = torch.eye(users, dtype=torch.bool, device=views.device)
    outputs = [
        _one_anchor(scores[0], (1, 2, 3), same, options),
        _one_anchor(scores[1], (3, 0, 1), same, options),
    ]
    return RankingOutput(
        torch.stack([one.loss for one in outputs]).mean(),
        torch.stack([one.weight for one in outputs]).mean(),
        torch.stack([one.implicit_first for one in outputs]).mean(),
        torch.stack([one.explicit_first for one in outputs]).mean(),
    )


def _one_anchor(
    scores: Float[Tensor, "users 4 users"],
    places: tuple[int, int, int],
    same: Bool[Tensor, "users users"],
    options: RankingOptions,
) -> RankingOutput:
    """``places``: which views are implicit, and explicit twice."""
    users = len(scores)
    own = scores.diagonal(dim1=0, dim2=2).T
    implicit, explicit = own[:, places[0]], own[:, places[1:]]
    others = scores.permute(0, 2, 1)[~same].view(users, -1)
    hard = options.hard_negatives
    first = implicit - (explicit.amax(1) if hard else explicit.mean(1))
    second = torch.zeros_like(first)
    if users > 1:
        second = explicit.amin(1) - _highest(others, options) if hard else explicit.mean(1) - others.mean(1)
    with torch.no_grad():
        weight = _weight(explicit, options)
        implicit_first = (implicit[:, None] > explicit).double().mean()
        above = explicit[:, :, None] > others[:, None]
        explicit_first = above.double().mean() if above.numel() else torch.zeros_like(implicit_first)
    loss = -logsigmoid(weight * first + (1 - weight) * second).mean()
    return RankingOutput(loss, weight.mean(), implicit_first, explicit_first)


def _highest(others: Float[Tensor, "users n"], options: RankingOptions) -> Float[Tensor, " users"]:
    """The maximum over other users, or the smooth one."""
    t = options.smoothing
    return others.amax(1) if t is None else t * torch.logsumexp(others / t, 1)


def _weight(explicit: Float[Tensor, "users 2"], options: RankingOptions) -> Float[Tensor, " users"]:
    """Of the first constraint, for each user."""
    if options.constraints != "both":
        return torch.full_like(explicit[:, 0], float(options.constraints == "implicit"))
    if options.fusion == "sample":
        return 1 - explicit.mean(1)
    value = 1 - explicit.mean() if options.fusion == "batch" else explicit.new_tensor(options.fusion)
    return value.expand(len(explicit))
