"""NGCF: propagation with weights, a non-linearity, and the product of a vector with what its neighbours say.

Source: Wang et al. 2019 (SIGIR), eqs. 3 to 9, as its released script computes them: with ``a = D^-1 (A + I) E`` (the paper writes
the symmetric operator), a layer is ``LeakyReLU(a W1 + b1) + LeakyReLU((E * a) W2 + b2)``, dropout, and rows of length 1 for what
is scored, which is the layers side by side, ``E^0`` first.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import dropout, leaky_relu, normalize

from usermodel.baselines.factors import FactorModel, Tables
from usermodel.baselines.interactions import Interactions
from usermodel.baselines.light_gcn import graph_of
from usermodel.nn.propagation import combine

#: Of LeakyReLU in the released script.
SLOPE = 0.2


class Ngcf(FactorModel):
    """See the module.

    Args:
        pairs: The edges.
        dim: Width of the learned vectors.
        widths: Width of each layer.
        edge_dropout: Share of the entries of the operator that a training step leaves out ("node dropout").
        message_dropout: Dropout of each layer's output.
        std: Of the first vectors; the script has Xavier's, which is about 0.008 for Gowalla.
    """

    def __init__(
        self,
        pairs: Interactions,
        dim: int = 64,
        *,
        widths: Sequence[int] = (64, 64, 64),
        edge_dropout: float = 0.1,
        message_dropout: float = 0.1,
        std: float = 0.01,
    ) -> None:
        super().__init__(pairs.n_users, pairs.n_items, dim, std=std)
        self.message_dropout = message_dropout
        self.graph = graph_of(pairs, row_stochastic=True, edge_dropout=edge_dropout)
        sizes = list(zip([dim, *widths[:-1]], widths, strict=True))
        self.of_sums = nn.ModuleList([_linear(*size) for size in sizes])
        self.of_products = nn.ModuleList([_linear(*size) for size in sizes])

    @property
    def reads_rows(self) -> bool:
        """Vectors depend on neighbours."""
        return False

    def combined(self) -> Tables:
        """All layers side by side."""
        users, items = self.layer_0()
        found: list[list[Tensor]] = [[users], [items]]
        for of_sum, of_product in zip(self.of_sums, self.of_products, strict=True):
            sums = self.graph(users, items)
            both = []
            for side, (vectors, total) in enumerate(zip((users, items), sums, strict=True)):
                out = leaky_relu(of_sum(total), SLOPE) + leaky_relu(of_product(vectors * total), SLOPE)
                out = dropout(out, self.message_dropout, self.training)
                both.append(out)
                found[side].append(normalize(out, dim=1))
            users, items = both
        return Tables(combine(found[0], "concat"), combine(found[1], "concat"))


def _linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.xavier_uniform_(layer.bias[None])
    return layer
