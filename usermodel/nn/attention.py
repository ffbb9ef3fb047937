"""Multi-head self-attention on ragged batches: the one place that picks a kernel."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import dropout, embedding, scaled_dot_product_attention

from usermodel.nn.positions import relative_bias, rotate
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
        n_time_buckets: Size of a learned bias per head and bucket of the time difference; 0 means none.
        rotary: Turn queries and keys by their place, see `rotate`.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        causal: bool,
        dropout: float = 0.0,
        max_distance: int = 0,
        n_time_buckets: int = 0,
        rotary: bool = False,
    ) -> None:
        super().__init__()
        self.heads, self.causal, self.dropout, self.rotary = heads, causal, dropout, rotary
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        # One table for the past and, in a bidirectional encoder, one for the future.
        self.max_distance, parts = max_distance, 1 if causal else 2
        self.bias = nn.Parameter(torch.zeros(heads, max_distance * parts)) if max_distance else None
        self.time_bias = nn.Parameter(torch.zeros(n_time_buckets * parts, heads)) if n_time_buckets else None

    def forward(
        self, x: Float[Tensor, "events dim"], layout: Layout, time_buckets: Sequence[Tensor] = ()
    ) -> Float[Tensor, "events dim"]:
        """Mix each user's events; no user sees another.

        Args:
            x: Events of all users.
            layout: Where they lie.
            time_buckets: What `usermodel.nn.positions.time_buckets` made of their times; read by a time bias only.
        """
        padded = layout.pad(self.qkv(x))
        mixed = [
            self._attend(padded[one.start : one.stop], one, time_buckets[number] if time_buckets else None)
            for number, one in enumerate(layout.rectangles)
        ]
        out: Tensor = self.out(layout.unpad(torch.cat(mixed)) if mixed else x)
        return out

    def _attend(
        self, qkv: Float[Tensor, "slots qkv_dim"], shape: Rectangle, buckets: Tensor | None
    ) -> Float[Tensor, "slots dim"]:
        n, width = shape.n, shape.width
        q, k, v = qkv.view(n, width, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        if self.rotary:
            q, k = rotate(q), rotate(k)
        mask = self._mask(shape, qkv.device)
        bias = self._bias(width, buckets)
        drop = self.dropout if self.training else 0.0
        if bias is None and not drop:
            out = scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        else:
            if mask is None:
                mask = torch.ones(width, width, dtype=torch.bool, device=qkv.device).tril()
            added = torch.zeros_like(mask, dtype=q.dtype) if bias is None else bias
            added = added.masked_fill(~mask, -torch.inf)
            if drop or torch.is_grad_enabled() or added.dtype != q.dtype:
                # The kernels of scaled_dot_product_attention refuse dropout on CPU, and with a bias that learns they are
                # no faster. Mask and bias are added in one pass, and the smaller factor is the one that is scaled.
                scores = (q / math.sqrt(q.shape[-1])) @ k.transpose(-1, -2) + added
                out = dropout(torch.softmax(scores, dim=-1), drop) @ v
            else:
                out = scaled_dot_product_attention(q, k, v, attn_mask=added)
        return out.transpose(1, 2).reshape(n * width, -1)

    def _mask(self, shape: Rectangle, device: torch.device) -> Bool[Tensor, "users 1 1 width"] | None:
        """None stands for the causal triangle: padding is on the right, so no real event sees it."""
        if self.causal:
            return None
        columns = torch.arange(shape.width, device=device)
        return (columns < shape.lengths[:, None])[:, None, None, :]

    def _bias(
        self, width: int, buckets: Tensor | None
    ) -> Float[Tensor, "users_or_1 heads {width} {width}"] | None:
        """What is added to the scores of each head, ``[query, key]``."""
        found = None if self.bias is None else relative_bias(self.bias, width, causal=self.causal)[None]
        if self.time_bias is None:
            return found
        assert buckets is not None, "a time bias needs the times"
        # As an embedding, because the gradient of an index by a tensor adds entry by entry.
        by_time = embedding(buckets, self.time_bias).permute(0, 3, 1, 2)
        return by_time if found is None else found + by_time
