"""Read-outs: the events of a user -> one vector. A user without events gets zeros."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

Readout = Literal["last", "mean", "attention"]


class Pooling(nn.Module):
    """Last event, mean, or attention with one learned query.

    Attention pooling is AdaptSSR's: ``w = softmax_t(h_t . q)``, not scaled, ``u = sum_t w_t h_t``.
    """

    def __init__(self, readout: Readout, dim: int) -> None:
        super().__init__()
        self.readout = readout
        self.query = nn.Parameter(torch.randn(dim) * 0.02) if readout == "attention" else None

    def forward(
        self, events: Float[Tensor, "events dim"], offsets: Int64[Tensor, " borders"]
    ) -> Float[Tensor, "borders-1 dim"]:
        """Pool each user's rows."""
        lengths = offsets.diff()
        if self.readout == "last":
            has = lengths > 0
            filled = events.new_zeros(len(lengths), events.shape[1])
            filled[has] = events[offsets[1:][has] - 1]
            return filled
        if self.query is None:
            return _sum(events, offsets) / lengths.clamp(min=1)[:, None]
        # Not a matrix product: autocast would round the scores and the sums over a history to bfloat16.
        score = (events * self.query).sum(1)
        top = torch.segment_reduce(score.detach(), "max", offsets=offsets, unsafe=True)
        weight = torch.exp(score - top.repeat_interleave(lengths, output_size=len(score)))[:, None]
        # The largest weight of a user is 1: a smaller total means that there is no event.
        return _sum(weight * events, offsets) / _sum(weight, offsets).clamp(min=1)


def _sum(
    rows: Float[Tensor, "events dim"], offsets: Int64[Tensor, " borders"]
) -> Float[Tensor, "borders-1 dim"]:
    """Sum of each user's rows, always in the same order: `index_add` on CUDA is not deterministic."""
    return torch.segment_reduce(rows, "sum", offsets=offsets, unsafe=True)
