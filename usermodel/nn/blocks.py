"""Transformer blocks: attention and feed-forward, each with a residual and a norm before or after."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu

from usermodel.nn.attention import SelfAttention
from usermodel.nn.ragged import Layout

NormPlace = Literal["pre", "post"]


class FeedForward(nn.Module):
    """Two linears with an exact (erf) GELU between them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.up = nn.Linear(dim, hidden)
        self.down = nn.Linear(hidden, dim)

    def forward(self, x: Float[Tensor, "events dim"]) -> Float[Tensor, "events dim"]:
        """Each event alone."""
        out: Tensor = self.down(gelu(self.up(x)))
        return out


class Block(nn.Module):
    """One layer: ``x + attention`` and ``x + feed-forward``.

    Post-norm (SASRec, BERT4Rec, AdaptSSR): ``x <- LN(x + Drop(f(x)))``. Pre-norm: ``x <- x + Drop(f(LN(x)))``.
    """

    def __init__(
        self,
        attention: SelfAttention,
        feed_forward: FeedForward,
        *,
        dim: int,
        norm: NormPlace,
        dropout: float,
    ) -> None:
        super().__init__()
        self.attention, self.feed_forward = attention, feed_forward
        self.norm_attention = nn.LayerNorm(dim, eps=1e-12)
        self.norm_feed_forward = nn.LayerNorm(dim, eps=1e-12)
        self.dropout = nn.Dropout(dropout)
        self.pre = norm == "pre"

    def forward(self, x: Float[Tensor, "events dim"], layout: Layout) -> Float[Tensor, "events dim"]:
        """Events of one user see each other, as the attention allows."""
        if self.pre:
            x = x + self.dropout(self.attention(self.norm_attention(x), layout))
            out: Tensor = x + self.dropout(self.feed_forward(self.norm_feed_forward(x)))
        else:
            x = self.norm_attention(x + self.dropout(self.attention(x, layout)))
            out = self.norm_feed_forward(x + self.dropout(self.feed_forward(x)))
        return out
