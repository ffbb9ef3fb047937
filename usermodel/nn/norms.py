"""Norms of a vector, by name."""

from __future__ import annotations

from typing import Final, Literal

from torch import nn

NormKind = Literal["layer", "rms"]
#: LayerNorm as in SASRec of ICSRec and AdaptSSR.
LAYER_EPS: Final = 1e-12
#: RMSNorm (Zhang & Sennrich 2019); small beside the mean square of a new item vector (4e-4).
RMS_EPS: Final = 1e-6


def make_norm(kind: NormKind, dim: int) -> nn.Module:
    """``layer``: ``(x - mean) / sqrt(var + eps) * w + b``; ``rms``: ``x / sqrt(mean(x^2) + eps) * w``."""
    return nn.RMSNorm(dim, eps=RMS_EPS) if kind == "rms" else nn.LayerNorm(dim, eps=LAYER_EPS)
