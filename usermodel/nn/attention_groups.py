"""Attention of users with equally many events: nothing is padded, and short histories share a block of the kernel's input.

For passes that keep nothing for a gradient.
"""

from __future__ import annotations

from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

#: PyTorch's kernel on a processor wants this many rows. Measured: a user alone takes twice to three times as long below it.
BLOCK_ROWS: Final = 16


def attend_equal(
    q: Float[Tensor, "users length heads d"],
    k: Float[Tensor, "users length heads d"],
    v: Float[Tensor, "users length heads d"],
    added: Float[Tensor, "users_or_1 heads_or_1 length length"] | None,
) -> Float[Tensor, "rows dim"]:
    """``softmax(q k^T / sqrt(d) + added) v`` of each user; a row per user and query.

    Short histories go through the kernel several users at a time, with -inf between one user's queries and another's keys.
    """
    n, length = k.shape[:2]
    own = added is not None and len(added) > 1
    group = 1 if own or k.device.type != "cpu" else min(n, -(-BLOCK_ROWS // length))
    if group == 1:
        return _attend(q, k, v, added, 1)
    mask = _block_diagonal(q.new_zeros(1, 1, length, length) if added is None else added, group)
    cut = n - n % group
    whole = _attend(q[:cut], k[:cut], v[:cut], mask, group)
    if cut == n:
        return whole
    rest = n - cut
    corner = mask[:, :, : rest * length, : rest * length]
    return torch.cat([whole, _attend(q[cut:], k[cut:], v[cut:], corner, rest)])


def _attend(q: Tensor, k: Tensor, v: Tensor, added: Tensor | None, group: int) -> Float[Tensor, "rows dim"]:
    heads, d = q.shape[2:]
    q, k, v = (x.reshape(len(x) // group, -1, heads, d).transpose(1, 2) for x in (q, k, v))
    mask = None if added is None else added.to(q.dtype)
    out = scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return out.transpose(1, 2).reshape(-1, heads * d)


def _block_diagonal(
    added: Float[Tensor, "1 heads length length"], group: int
) -> Float[Tensor, "1 heads rows rows"]:
    _, heads, length, _ = added.shape
    out = added.new_full((heads, group, length, group, length), -torch.inf)
    place = torch.arange(group, device=added.device)
    out[:, place, :, place] = added
    return out.view(1, heads, group * length, group * length)
