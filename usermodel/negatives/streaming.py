"""How frequent items are, estimated from a stream of them."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn


class GapFrequencies(nn.Module):
    """The frequency of an item is the inverse of the mean gap between its occurrences.

    Source: Yi et al. 2019, Algorithm 2: ``B[y] <- (1 - rate) B[y] + rate (t - A[y])``, ``A[y] <- t``, frequency ``1 / B[y]``.
    Deviations: ``t`` counts items of the stream and not batches, so that the frequency is that of one draw: an item that is in
    every batch has a gap of one batch however often it is there. Several occurrences in one batch are one update with their
    mean gap and the rate ``1 - (1 - rate)^occurrences``, which has the same mean. There is a row for each item, no hashing. The
    gap of an item that has not come yet is taken to be the number of items, and the first one counts from the beginning of the
    stream.

    Arrays and position are part of checkpoints. Where several processes train, each estimates from its own part of the batches, and a
    resumed run goes on with what the first one knew.

    Args:
        n_items: Items 1 to n_items.
        rate: Weight of the latest gap.
    """

    last: Tensor
    gap: Tensor
    position: Tensor
    _times: Tensor

    def __init__(self, n_items: int, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.register_buffer("last", torch.zeros(n_items + 1, dtype=torch.int64))
        self.register_buffer("gap", torch.full((n_items + 1,), float(n_items)))
        self.register_buffer("_times", torch.zeros(n_items + 1), persistent=False)
        self.register_buffer("position", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self, items: Int64[Tensor, " n"]) -> None:
        """Let further items of the stream pass, in their order."""
        now = self.position + torch.arange(1, len(items) + 1, device=items.device)
        before = self.last[items]
        self.last.scatter_reduce_(0, items, now, "amax")
        self._times[items] = 0.0
        self._times.index_add_(0, items, torch.ones_like(now, dtype=self.gap.dtype))
        # One number for each occurrence: those of an item are equal, so that it does not matter which one is written.
        times = self._times[items]
        mean = (self.last[items] - before) / times
        self.gap[items] = self.gap[items].lerp(mean, 1 - (1 - self.rate) ** times)
        self.position.add_(len(items))

    def log_frequency(self, items: Int64[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Log of the probability that the next item of the stream is this one, as estimated; at most 0."""
        return -self.gap[items].log()
