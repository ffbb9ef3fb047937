"""Transformer blocks: attention and feed-forward, each with a residual and a norm before or after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu, silu

from usermodel.nn.attention import SelfAttention
from usermodel.nn.dropout import Dropout
from usermodel.nn.norms import NormKind, make_norm
from usermodel.nn.ragged import Layout

NormPlace = Literal["pre", "post"]
Activation = Literal["gelu", "swiglu"]
Residual = Literal["plain", "gated"]


class FeedForward(nn.Module):
    """Two linears, and between them an exact (erf) GELU or a gate.

    ``swiglu`` (Shazeer 2020, equation 6): ``W_down (silu(W_gate x) * (W_up x))``; ``up`` holds the rows of the gate, then
    those of ``W_up``. Deviation: with biases, like every linear here. At the same ``hidden`` it has half as many weights
    again as ``gelu``.
    """

    def __init__(self, dim: int, hidden: int, activation: Activation = "gelu") -> None:
        super().__init__()
        self.swiglu = activation == "swiglu"
        self.up = nn.Linear(dim, 2 * hidden if self.swiglu else hidden)
        self.down = nn.Linear(hidden, dim)

    def forward(self, x: Float[Tensor, "events dim"]) -> Float[Tensor, "events dim"]:
        """Each event alone."""
        h = self.up(x)
        if self.swiglu:
            gate, value = h.chunk(2, dim=-1)
            h = silu(gate) * value
        elif torch.is_grad_enabled():
            h = gelu(h)
        else:
            # In place: another array of this size would no longer fit into the cache of a core.
            torch.ops.aten.gelu_(h)
        out: Tensor = self.down(h)
        return out


class Block(nn.Module):
    """One layer: ``x + attention`` and ``x + feed-forward``.

    Post-norm (SASRec, BERT4Rec, AdaptSSR): ``x <- N(x + Drop(f(x)))``. Pre-norm: ``x <- x + Drop(f(N(x)))``.
    A gated residual puts ``sigmoid(W x + b) * Drop(...)`` in place of ``Drop(...)``, one gate per part, fed with the
    residual stream before any norm: LiGR (arXiv 2502.03417) as eSASRec uses it, after RecTools' ``LiGRLayer``, which is
    pre-norm with ``swiglu``. Deviations: RecTools also drops inside the feed-forward, and has no biases there.

    Args:
        attention: Mixes the events of a user.
        feed_forward: Works on each event.
        dim: Width.
        norm: Before or after each part.
        dropout: On the output of each part.
        norm_kind: LayerNorm or RMSNorm.
        residual: ``plain`` or ``gated``.
    """

    def __init__(
        self,
        attention: SelfAttention,
        feed_forward: FeedForward,
        *,
        dim: int,
        norm: NormPlace,
        dropout: float,
        norm_kind: NormKind = "layer",
        residual: Residual = "plain",
    ) -> None:
        super().__init__()
        self.attention, self.feed_forward = attention, feed_forward
        self.norm_attention, self.norm_feed_forward = make_norm(norm_kind, dim), make_norm(norm_kind, dim)
        gated = residual == "gated"
        self.gate_attention = nn.Linear(dim, dim) if gated else None
        self.gate_feed_forward = nn.Linear(dim, dim) if gated else None
        self.dropout = Dropout(dropout)
        self.pre = norm == "pre"

    def forward(
        self, x: Float[Tensor, "events dim"], layout: Layout, time_buckets: Sequence[Tensor] = ()
    ) -> Float[Tensor, "events dim"]:
        """Events of one user see each other, as the attention allows; see there for ``time_buckets``."""
        y = self.norm_attention(x) if self.pre else x
        return self._after(x, self.attention(y, layout, time_buckets))

    def qkv(self, x: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows qkv_dim"]:
        """Queries, keys and values of each row."""
        out: Tensor = self.attention.qkv(self.norm_attention(x) if self.pre else x)
        return out

    def in_order(
        self,
        x: Float[Tensor, "events dim"],
        layout: Layout,
        time_buckets: Sequence[Tensor] = (),
        qkv: Float[Tensor, "events qkv_dim"] | None = None,
    ) -> Float[Tensor, "events dim"]:
        """`forward` of a layout made by `Layout.in_order`; ``qkv`` is ``self.qkv(x)``."""
        qkv = self.qkv(x) if qkv is None else qkv
        return self._after(x, self.attention.in_order(qkv, layout, time_buckets))

    def last(
        self, x: Float[Tensor, "events dim"], layout: Layout, time_buckets: Sequence[Tensor] = ()
    ) -> Float[Tensor, "filled dim"]:
        """The last row of each user in `in_order`."""
        y = self.norm_attention(x) if self.pre else x
        return self._after(layout.last(x), self.attention.last(y, layout, time_buckets))

    def _after(
        self, x: Float[Tensor, "rows dim"], mixed: Float[Tensor, "rows dim"]
    ) -> Float[Tensor, "rows dim"]:
        """All that follows attention, each row alone."""
        x = self._add(x, mixed, self.gate_attention)
        x = x if self.pre else self.norm_attention(x)
        y = self.norm_feed_forward(x) if self.pre else x
        x = self._add(x, self.feed_forward(y), self.gate_feed_forward)
        out: Tensor = x if self.pre else self.norm_feed_forward(x)
        return out

    def _add(self, x: Tensor, part: Tensor, gate: nn.Linear | None) -> Tensor:
        part = self.dropout(part)
        return x + part if gate is None else x + torch.sigmoid(gate(x)) * part
