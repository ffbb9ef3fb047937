"""Multi-head self-attention on ragged batches: the one place that picks a kernel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import embedding, linear, scaled_dot_product_attention

from usermodel.nn.attention_groups import attend_equal
from usermodel.nn.attention_kernel import attend
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
        if not layout.rectangles:
            empty: Tensor = self.out(x)
            return empty
        parts = torch.split(layout.pad(self.qkv(x)), [one.n * one.width for one in layout.rectangles])
        bias = self._bias(max(one.width for one in layout.rectangles))
        buckets = [time_buckets[number] if time_buckets else None for number in range(len(parts))]
        mixed = [
            self._attend(part, one, None if bias is None else bias[:, :, : one.width, : one.width], bucket)
            for part, one, bucket in zip(parts, layout.rectangles, buckets, strict=True)
        ]
        out: Tensor = self.out(layout.unpad(torch.cat(mixed)))
        return out

    def in_order(
        self,
        x: Float[Tensor, "events dim"],
        layout: Layout,
        time_buckets: Sequence[Tensor] = (),
        *,
        last: bool = False,
    ) -> Float[Tensor, "rows dim"]:
        """`forward` without dropout, of a layout with events made by `Layout.in_order`.

        With ``last`` the other events are keys and values only, and a row per user comes out.
        """
        dim, per_head = x.shape[1], (self.heads, x.shape[1] // self.heads)
        if last:
            weight, offset = self.qkv.weight, self.qkv.bias
            q = linear(layout.last(x), weight[:dim], offset[:dim])
            k, v = linear(x, weight[dim:], offset[dim:]).chunk(2, dim=1)
        else:
            q, k, v = self.qkv(x).chunk(3, dim=1)
        bias, user, mixed = self._bias(max(one.width for one in layout.rectangles)), 0, []
        for number, one in enumerate(layout.rectangles):
            rows = slice(one.start, one.stop)
            asked, user = slice(user, user + one.n) if last else rows, user + one.n
            own_q, own_k, own_v = (y.reshape(one.n, -1, *per_head) for y in (q[asked], k[rows], v[rows]))
            if self.rotary:
                first = one.width - 1 if last else 0
                own_q = rotate(own_q.transpose(1, 2), first).transpose(1, 2)
                own_k = rotate(own_k.transpose(1, 2)).transpose(1, 2)
            added = None if bias is None else bias[:, :, : one.width, : one.width]
            added = self._with_time(added, time_buckets[number] if time_buckets else None)
            if last:
                # The last event sees all that there is.
                added = None if added is None else added[:, :, -1:]
            elif self.causal:
                added = self._added(one, added, x)
            mixed.append(attend_equal(own_q, own_k, own_v, added))
        out: Tensor = self.out(torch.cat(mixed))
        return out

    def _attend(
        self,
        qkv: Float[Tensor, "slots qkv_dim"],
        shape: Rectangle,
        bias: Float[Tensor, "1 heads width width"] | None,
        buckets: Tensor | None,
    ) -> Float[Tensor, "slots dim"]:
        n, width = shape.n, shape.width
        packed = qkv.view(n, width, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if self.rotary:
            packed = torch.stack([rotate(packed[0]), rotate(packed[1]), packed[2]])
        drop = self.dropout if self.training else 0.0
        bias = self._with_time(bias, buckets)
        if drop or (bias is not None and torch.is_grad_enabled()):
            # PyTorch's kernels refuse these; otherwise they are as fast, and keep no score matrices.
            out = attend(packed, self._added(shape, bias, packed), drop)
        else:
            triangle = bias is None and self.causal
            mask = None if triangle else self._added(shape, bias, packed).to(packed.dtype)
            q, k, v = packed.unbind(0)
            out = scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=triangle)
        return out.transpose(1, 2).reshape(n * width, -1)

    def _with_time(
        self, bias: Float[Tensor, "1 heads width width"] | None, buckets: Tensor | None
    ) -> Float[Tensor, "users_or_1 heads width width"] | None:
        if self.time_bias is None:
            return bias
        assert buckets is not None, "a time bias needs the times"
        # As an embedding, because the gradient of an index by a tensor adds entry by entry.
        by_time = embedding(buckets, self.time_bias).permute(0, 3, 1, 2)
        return by_time if bias is None else by_time + bias

    def _added(
        self, shape: Rectangle, bias: Float[Tensor, "users_or_1 heads width width"] | None, like: Tensor
    ) -> Float[Tensor, "rows heads_or_1 width width"]:
        """The bias, and -inf where a key is out of sight.

        Padding is on the right, so no real event sees it when only earlier ones are seen.
        """
        width, device = shape.width, like.device
        if self.causal:
            hidden = torch.ones(width, width, dtype=torch.bool, device=device).triu(1)[None, None]
        else:
            hidden = torch.arange(width, device=device) >= shape.lengths[:, None]
            hidden = hidden[:, None, None, :].expand(-1, 1, width, width)
        added = like.new_zeros(1) if bias is None else bias
        return added.masked_fill(hidden, -torch.inf)

    def _bias(self, width: int) -> Float[Tensor, "1 heads {width} {width}"] | None:
        """What is added to the scores of each head for the distance, ``[query, key]``."""
        return None if self.bias is None else relative_bias(self.bias, width, causal=self.causal)[None]
