"""Running sums of ragged rows, without a loop over users or steps and without one user's rounding in another's sum."""

from __future__ import annotations

from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import pad


def decayed_sum(
    rows: Float[Tensor, "events d"], position: Int64[Tensor, " events"], decay: Float[Tensor, ""]
) -> Float[Tensor, "events d"]:
    """``s_t = x_t + decay * s_{t-1}`` along each user, by doubling (Hillis & Steele 1986).

    After the step of width w each row holds the sum over its latest 2w events, so a history of n events takes log2(n)
    steps. A difference of sums over the whole batch would be one step, but would carry the rounding of all users before.

    Args:
        rows: Events of several users end to end.
        position: Place of each event in its user's slice, 0 = oldest.
        decay: 0 to 1.
    """
    longest = int(position.max()) + 1 if len(position) else 0
    width = 1
    while width < longest:
        factor = decay**width * (position >= width)
        rows = rows + factor[:, None] * pad(rows[:-width], (0, 0, width, 0))
        width *= 2
    return rows
