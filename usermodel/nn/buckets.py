"""Logarithmic buckets: seconds, milliseconds and their like as small numbers."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

import torch
from jaxtyping import Int64
from torch import Tensor

#: HSTU's step (Zhai et al. 2024, their code: ``log(max(|x|, 1)) / 0.301``): a bucket ends 1.35 times later than the one
#: before. 64 buckets of seconds reach 7 years, 64 of milliseconds 2 days.
STEP: Final = 0.301
#: The last border that an int64 holds.
MOST_BUCKETS: Final = 128


@lru_cache
def borders(n: int) -> tuple[int, ...]:
    """Smallest whole number of buckets 1 to n - 1."""
    return tuple(math.ceil(math.exp(STEP * k)) for k in range(1, n))


def log_buckets(x: Int64[Tensor, "*shape"], n: int) -> Int64[Tensor, "*shape"]:
    """``min(floor(log(max(|x|, 1)) / 0.301), n - 1)``, by comparison of whole numbers: the same on every device."""
    return torch.bucketize(x.abs(), torch.tensor(borders(n), device=x.device), right=True)
