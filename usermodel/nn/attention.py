"""Multi-head self-attention on ragged batches: the one place that picks a kernel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
        qkv: Float[Tensor, "events qkv_dim"],
        layout: Layout,
        time_buckets: Sequence[Tensor] = (),
    ) -> Float[Tensor, "events dim"]:
        """`forward` of ``self.qkv(x)``, without dropout, for a layout with events made by `Layout.in_order`."""
        out: Tensor = self.out(self._mix(qkv, layout, time_buckets))
        return out

    def last(
        self, x: Float[Tensor, "events dim"], layout: Layout, time_buckets: Sequence[Tensor] = ()
    ) -> Float[Tensor, "filled dim"]:
        """The last row of each user in `in_order`, without keys and values of the others.

        ``q (W x + b) = (q W) x + q b``, and softmax does not see what all keys have in common: a query for the events
        themselves takes the place of keys. A mean of values is the value of the mean.
        """
        if self.rotary:
            turned: Tensor = self.out(layout.last(self._mix(self.qkv(x), layout, time_buckets)))
            return turned
        dim, heads = x.shape[1], self.heads
        w_q, w_k, w_v = self.qkv.weight.chunk(3)
        b_q, _, b_v = self.qkv.bias.chunk(3)
        q = linear(layout.last(x), w_q, b_q).view(-1, heads, dim // heads)
        asked = torch.einsum("nhd,hde->nhe", q, w_k.view(heads, -1, dim))
        user, means = 0, []
        for one, bias in zip(layout.rectangles, self._added_in_order(layout, time_buckets), strict=True):
            own, query = x[one.start : one.stop].view(one.n, one.width, dim), asked[user : user + one.n]
            scores = torch.bmm(query, own.mT).mul_((dim // heads) ** -0.5)
            # The last event sees all that there is.
            p = torch.softmax(scores if bias is None else scores.add_(bias[:, :, -1]), dim=-1)
            means.append(torch.bmm(p, own))
            user += one.n
        mixed = torch.einsum("nhe,hde->nhd", torch.cat(means), w_v.view(heads, -1, dim)).flatten(1) + b_v
        out: Tensor = self.out(mixed)
        return out

    def _mix(
        self, qkv: Float[Tensor, "events qkv_dim"], layout: Layout, time_buckets: Sequence[Tensor]
    ) -> Float[Tensor, "events dim"]:
        mixed = []
        for one, bias in zip(layout.rectangles, self._added_in_order(layout, time_buckets), strict=True):
            own = qkv[one.start : one.stop].reshape(one.n, one.width, 3, self.heads, -1)
            q, k, v = own.unbind(2)
            if self.rotary:
                q, k = (rotate(y.transpose(1, 2)).transpose(1, 2) for y in (q, k))
            mixed.append(attend_equal(q, k, v, self._added(one, bias, qkv) if self.causal else bias))
        return torch.cat(mixed)

    def _added_in_order(
        self, layout: Layout, time_buckets: Sequence[Tensor]
    ) -> Iterator[Float[Tensor, "users_or_1 heads width width"] | None]:
        """What is added to the scores of each rectangle for distance and time."""
        bias = self._bias(max(one.width for one in layout.rectangles))
        for number, one in enumerate(layout.rectangles):
            own = None if bias is None else bias[:, :, : one.width, : one.width]
            yield self._with_time(own, time_buckets[number] if time_buckets else None)

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
