"""What attention knows about places and times: rotary places, a bias per distance, a bias per time difference."""

from __future__ import annotations

from typing import Final, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from usermodel.nn.buckets import log_buckets
from usermodel.nn.ragged import Layout

Positions = Literal["relative", "rotary", "from_end", "from_start", "none"]
_ROTARY_BASE: Final = 10_000.0


def rotate(x: Float[Tensor, "users heads width d"]) -> Float[Tensor, "users heads width d"]:
    """Turn each pair ``(x_2i, x_2i+1)`` of the event at place m by the angle ``m * 10000^(-2i/d)``.

    RoFormer (Su et al. 2021, equations 14, 15 and 34). The product of two turned vectors depends on the distance of
    their places only, so it does not matter where the slice began.
    """
    width, d = x.shape[-2:]
    frequency = _ROTARY_BASE ** (-torch.arange(0, d, 2, device=x.device, dtype=torch.float32) / d)
    angle = torch.arange(width, device=x.device)[:, None] * frequency
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)


def relative_bias(
    table: Float[Tensor, "heads entries"], width: int, *, causal: bool
) -> Float[Tensor, "heads {width} {width}"]:
    """Entry of each distance, ``[query, key]``; the future has a second half of the table. Far distances share one."""
    places = torch.arange(width, device=table.device)
    distance = places[:, None] - places[None, :]
    size = table.shape[1] if causal else table.shape[1] // 2
    past = distance.clamp(0, size - 1)
    if causal:
        return table[:, past]
    future = (-distance).clamp(0, size - 1) + size
    return table[:, torch.where(distance >= 0, past, future)]


def time_buckets(
    times: Int64[Tensor, " events"], layout: Layout, n: int, *, causal: bool
) -> tuple[Int64[Tensor, "users width width"], ...]:
    """Bucket of ``time of query - time of key`` for each rectangle; made once per batch and shared by all layers.

    Later keys have buckets n to 2n - 1 in a bidirectional encoder. Deviations from HSTU (Zhai et al. 2024, their code):
    it takes the time of the event after the query, which is that of the target and unknown when a user is encoded; its
    bias is one for all heads.
    """
    padded, found = layout.pad(times[:, None])[:, 0], []
    for one in layout.rectangles:
        own = padded[one.start : one.stop].view(one.n, one.width)
        difference = own[:, :, None] - own[:, None, :]
        bucket = log_buckets(difference, n)
        found.append(bucket if causal else torch.where(difference >= 0, bucket, bucket + n))
    return tuple(found)
