"""Multi-head self-attention on ragged batches: the one place that picks a kernel."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import dropout, scaled_dot_product_attention

from usermodel.nn.ragged import Layout, Rectangle


class SelfAttention(nn.Module):
    """Scaled dot-product attention among the events of one user (Vaswani et al. 2017, section 3.2).

    Args:
        dim: Width of the input and output.
        heads: Number of heads; divides ``dim``.
        causal: Whether an event sees only itself and earlier ones.
        dropout: Dropout on the attention probabilities.
        max_distance: Size of a learned bias per head and distance, added to the scores (T5 style, without buckets:
            Raffel et al. 2020, section 2.1); 0 means none. Distances beyond it share the last entry.
    """

    def __init__(
        self, dim: int, heads: int, *, causal: bool, dropout: float = 0.0, max_distance: int = 0
    ) -> None:
        super().__init__()
        self.heads, self.causal, self.dropout = heads, causal, dropout
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        # One table for the past and, in a bidirectional encoder, one for the future.
        self.max_distance = max_distance
        entries = max_distance * (1 if causal else 2)
        self.bias = nn.Parameter(torch.zeros(heads, entries)) if max_distance else None

    def forward(self, x: Float[Tensor, "events dim"], layout: Layout) -> Float[Tensor, "events dim"]:
        """Mix each user's events; no user sees another."""
        padded = layout.pad(self.qkv(x))
        mixed = [self._attend(padded[one.start : one.stop], one) for one in layout.rectangles]
        out: Tensor = self.out(layout.unpad(torch.cat(mixed)) if mixed else x)
        return out

    def _attend(self, qkv: Float[Tensor, "slots qkv_dim"], shape: Rectangle) -> Float[Tensor, "slots dim"]:
        n, width = shape.n, shape.width
        q, k, v = qkv.view(n, width, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        mask = self._mask(shape, qkv.device)
        if self.bias is None and not (self.training and self.dropout):
            out = scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        else:
            # CPU kernels of scaled_dot_product_attention refuse dropout and give no gradient to a bias.
            scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
            if self.bias is not None:
                scores = scores + self._relative_bias(width)
            if mask is None:
                mask = torch.ones(width, width, dtype=torch.bool, device=qkv.device).tril()
            weights = torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=-1)
            out = dropout(weights, self.dropout, self.training) @ v
        return out.transpose(1, 2).reshape(n * width, -1)

    def _mask(self, shape: Rectangle, device: torch.device) -> Bool[Tensor, "users 1 1 width"] | None:
        """None stands for the causal triangle: padding is on the right, so no real event sees it."""
        if self.causal:
            return None
        columns = torch.arange(shape.width, device=device)
        return (columns < shape.lengths[:, None])[:, None, None, :]

    def _relative_bias(self, width: int) -> Float[Tensor, "heads {width} {width}"]:
        assert self.bias is not None
        places = torch.arange(width, device=self.bias.device)
        distance = places[:, None] - places[None, :]
        past = distance.clamp(0, self.max_distance - 1)
        if self.causal:
            return self.bias[:, past]
        future = (-distance).clamp(0, self.max_distance - 1) + self.max_distance
        return self.bias[:, torch.where(distance >= 0, past, future)]
