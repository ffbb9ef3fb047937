"""LightGCN: learned vectors of users and items, averaged with those of their neighbours near and far.

Source: He et al. 2020 (SIGIR), eqs. 7 and 8 with weights 1 / (K + 1); ``s(u, i)`` is the inner product. Defaults are those of the
released code: 64 numbers, 3 layers, N(0, 0.1).
"""

from __future__ import annotations

from typing import get_args

import torch

from usermodel.baselines.factors import FactorModel, Tables
from usermodel.baselines.interactions import Interactions
from usermodel.errors import ConfigError, nearest
from usermodel.nn.propagation import Combine, Propagation, layers_of
from usermodel.nn.propagation import combine as join


def graph_of(pairs: Interactions, *, row_stochastic: bool = False, edge_dropout: float = 0.0) -> Propagation:
    """The graph whose edges are the pairs."""
    return Propagation(
        torch.from_numpy(pairs.user),
        torch.from_numpy(pairs.item - 1),
        n_users=pairs.n_users,
        n_items=pairs.n_items,
        operator="row-stochastic" if row_stochastic else "symmetric",
        edge_dropout=edge_dropout,
    )


class LightGcn(FactorModel):
    """``E^(k+1) = D^-1/2 A D^-1/2 E^k``; the mean of ``E^0`` to ``E^K`` is scored.

    Args:
        pairs: The edges.
        dim: Width of a vector.
        layers: K; with 0 this is `usermodel.baselines.matrix_factorization`.
        combine: How the layers become one vector: ``mean``, ``sum``, ``concat``, ``last``.
        std: Of the first vectors.
        cosine: Whether vectors of length 1 are scored.

    Raises:
        ConfigError: No such way to combine.
    """

    def __init__(
        self,
        pairs: Interactions,
        dim: int = 64,
        *,
        layers: int = 3,
        combine: Combine = "mean",
        std: float = 0.1,
        cosine: bool = False,
    ) -> None:
        super().__init__(pairs.n_users, pairs.n_items, dim, std=std, cosine=cosine)
        if combine not in get_args(Combine):
            do = nearest(combine, get_args(Combine))
            raise ConfigError("combine", expected="a way that exists", found=repr(combine), do=do)
        self.layers, self.combine = layers, combine
        self.graph = graph_of(pairs)

    @property
    def reads_rows(self) -> bool:
        """Only without layers."""
        return self.layers == 0 and super().reads_rows

    def combined(self) -> Tables:
        """The combined layers."""
        found = layers_of(self.graph, *self.layer_0(), self.layers)
        users, items = ([layer[side] for layer in found] for side in (0, 1))
        return Tables(join(users, self.combine), join(items, self.combine))
