"""Type of the matrix products between events and items."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

_CHOSEN: ContextVar[torch.dtype | None] = ContextVar("product type of losses", default=None)


@contextmanager
def products_in(dtype: torch.dtype) -> Iterator[None]:
    """The products of losses in ``dtype``, whatever autocast says of everything else."""
    token = _CHOSEN.set(dtype)
    try:
        yield
    finally:
        _CHOSEN.reset(token)


def product_dtype(events: Tensor) -> torch.dtype:
    """That of `products_in`, else of autocast, but never float16, whose range is too small for sums of a catalogue."""
    kind = events.device.type
    dtype = _CHOSEN.get()
    if dtype is None:
        if not torch.is_autocast_enabled(kind):
            return events.dtype
        dtype = torch.get_autocast_dtype(kind)
    return torch.float32 if dtype == torch.float16 else dtype
