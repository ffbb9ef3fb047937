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

    def forward(self, events: Float[Tensor, "events dim"], offsets: Int64[Tensor, " users+1"]) -> Float[Tensor, "users dim"]:
        """Pool each user's rows."""
        lengths = offsets.diff()
        if self.readout == "last":
            filled = events.new_zeros(len(lengths), events.shape[1])
            has = lengths > 0
            filled[has] = events[offsets[1:][has] - 1]
            return filled
        owner = torch.repeat_interleave(torch.arange(len(lengths), device=offsets.device), lengths, output_size=len(events))
        zeros = events.new_zeros(len(lengths), events.shape[1])
        if self.query is None:
            return zeros.index_add(0, owner, events) / lengths.clamp(min=1)[:, None]
        score = events @ self.query
        top = score.detach().new_full((len(lengths),), -torch.inf).scatter_reduce(0, owner, score.detach(), "amax")
        weight = torch.exp(score - top[owner])
        total = weight.new_zeros(len(lengths)).index_add(0, owner, weight)
        return zeros.index_add(0, owner, events * (weight / total[owner])[:, None])
