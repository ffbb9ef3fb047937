"""Propagation on the graph of users and items: each vector becomes a weighted sum of its neighbours'.

With R the 0/1 matrix of users and items, A = [0 R; R^T 0] and D the degrees, the operators are

* ``symmetric``: ``D^-1/2 A D^-1/2`` (LightGCN, He et al. 2020, eq. 7; a node without neighbours becomes zero);
* ``row-stochastic``: ``D^-1 (A + I)`` with the degrees of A + I (what NGCF's script takes, Wang et al. 2019).

Users and items are two blocks, so that a product with A is one with R and one with R^T. Degrees scale vectors before and after, and
the matrices themselves hold only positions: their products are sums of rows, `torch.nn.functional.embedding_bag`, in about half
the time of a sparse CSR matrix of torch or scipy (``make bench-propagation``). The gradient of a product with R is one with R^T
and back, so that no gradient is scattered and results do not depend on the number of threads.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import dropout, embedding_bag

Operator = Literal["symmetric", "row-stochastic"]
Combine = Literal["mean", "sum", "concat", "last"]


class Propagation(nn.Module):
    """One step on a bipartite graph; its positions and degrees are buffers.

    Args:
        user: User of each edge, 0 to n_users - 1.
        item: Item of each edge, 0 to n_items - 1; no edge stands there twice.
        n_users: Users.
        n_items: Items.
        operator: See the module.
        edge_dropout: Share of the entries of the operator that a training step leaves out; the others are scaled up.
    """

    def __init__(
        self,
        user: Int64[Tensor, " edges"],
        item: Int64[Tensor, " edges"],
        *,
        n_users: int,
        n_items: int,
        operator: Operator = "symmetric",
        edge_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.operator, self.edge_dropout = operator, edge_dropout
        by_user = torch.argsort(user * n_items + item)
        user, item = user[by_user], item[by_user]
        by_item = torch.argsort(item * n_users + user)
        #: Numbers of the edges by user, in the order by item, and the reverse.
        self._buffer("to_item_order", by_item)
        self._buffer("to_user_order", torch.argsort(by_item))
        self._buffer("items_of", item.int())
        self._buffer("items_from", _borders(user, n_users))
        self._buffer("users_of", user[by_item].int())
        self._buffer("users_from", _borders(item[by_item], n_items))
        degrees = torch.bincount(user, minlength=n_users), torch.bincount(item, minlength=n_items)
        for name, degree in zip(("user_scale", "item_scale"), degrees, strict=True):
            wide = degree.double()
            scale = (
                torch.where(degree > 0, wide, 1).rsqrt() * (degree > 0)
                if operator == "symmetric"
                else (wide + 1).reciprocal()
            )
            self._buffer(name, scale.float()[:, None])

    items_of: Tensor
    items_from: Tensor
    users_of: Tensor
    users_from: Tensor
    to_item_order: Tensor
    to_user_order: Tensor
    user_scale: Tensor
    item_scale: Tensor

    def _buffer(self, name: str, value: Tensor) -> None:
        # The graph is data, not weights: whoever builds the model again has it.
        self.register_buffer(name, value, persistent=False)

    def forward(
        self, users: Float[Tensor, "n_users dim"], items: Float[Tensor, "n_items dim"]
    ) -> tuple[Float[Tensor, "n_users dim"], Float[Tensor, "n_items dim"]]:
        """The product of the operator with both blocks."""
        user_scale, item_scale = self.user_scale.to(users.dtype), self.item_scale.to(items.dtype)
        if self.operator == "symmetric":
            users, items = users * user_scale, items * item_scale
        for_users = self._sum(items, to_users=True)
        for_items = self._sum(users, to_users=False)
        if self.operator == "row-stochastic":
            for_users = for_users + self._drop_rows(users)
            for_items = for_items + self._drop_rows(items)
        return for_users * user_scale, for_items * item_scale

    def _sum(self, values: Tensor, *, to_users: bool) -> Tensor:
        """Sums of neighbours' rows, without some edges in training."""
        there, back = (self.items_of, self.items_from), (self.users_of, self.users_from)
        turn = self.to_item_order
        if not to_users:
            there, back, turn = back, there, self.to_user_order
        weight = turned = None
        if self.training and self.edge_dropout:
            weight = dropout(values.new_ones(len(turn)), self.edge_dropout)
            turned = weight[turn]
        out: Tensor = _SumOfRows.apply(values, *there, *back, weight, turned)  # type: ignore[no-untyped-call]
        return out

    def _drop_rows(self, values: Tensor) -> Tensor:
        """The entries of I, some of which are left out in training."""
        if not (self.training and self.edge_dropout):
            return values
        return values * dropout(values.new_ones(len(values), 1), self.edge_dropout)


def layers_of(
    propagation: Propagation,
    users: Float[Tensor, "n_users dim"],
    items: Float[Tensor, "n_items dim"],
    n_layers: int,
) -> list[tuple[Tensor, Tensor]]:
    """The vectors after 0, 1, ... ``n_layers`` steps."""
    layers = [(users, items)]
    for _ in range(n_layers):
        layers.append(propagation(*layers[-1]))
    return layers


def combine(layers: list[Tensor], how: Combine) -> Tensor:
    """One vector a node from those of all layers."""
    if how == "last" or len(layers) == 1:
        return layers[-1]
    if how == "concat":
        return torch.cat(layers, dim=1)
    total = layers[0]
    for layer in layers[1:]:
        total = total + layer
    return total / len(layers) if how == "mean" else total


def _borders(sorted_owner: Tensor, n: int) -> Tensor:
    """First edge of each owner, and the number of edges at the end."""
    counts = torch.bincount(sorted_owner, minlength=n)
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)]).int()


class _SumOfRows(torch.autograd.Function):
    """``M @ values`` for a sparse M, given by the columns of each row, and by those of its transpose."""

    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        columns: Tensor,
        borders: Tensor,
        turned_columns: Tensor,
        turned_borders: Tensor,
        weight: Tensor | None,
        turned_weight: Tensor | None,
    ) -> Tensor:
        ctx.save_for_backward(columns, borders, turned_columns, turned_borders, weight, turned_weight)
        return embedding_bag(
            columns,
            values.contiguous(),
            borders,
            mode="sum",
            per_sample_weights=weight,
            include_last_offset=True,
        )

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        columns, borders, turned_columns, turned_borders, weight, turned_weight = ctx.saved_tensors
        turned = (turned_columns, turned_borders, columns, borders, turned_weight, weight)
        grad: Tensor = _SumOfRows.apply(grads[0], *turned)  # type: ignore[no-untyped-call]
        return grad, *[None] * 6
