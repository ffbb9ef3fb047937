"""Barlow Twins: the correlation of two views is to be the identity (Zbontar et al. 2021, arXiv:2103.03230)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from jaxtyping import Float
from torch import Tensor

#: Added to variances, as batch normalisation does in the released code.
EPSILON: Final = 1e-5


@dataclass(frozen=True)
class BarlowTwinsOutput:
    """Both terms, not weighted.

    Attributes:
        invariance: ``sum_i (1 - C_ii)^2``.
        redundancy: ``sum_i sum_{j != i} C_ij^2``.
    """

    invariance: Float[Tensor, ""]
    redundancy: Float[Tensor, ""]


def barlow_twins(first: Float[Tensor, "n dim"], second: Float[Tensor, "n dim"]) -> BarlowTwinsOutput:
    """The terms of equation 1, with ``C = Z_A^T Z_B / n`` (equation 2) of standardised views.

    A dimension that is the same for all examples is correlated with nothing.

    Args:
        first: One vector per example.
        second: Of another view of the same examples.

    Returns:
        Both 0 with zero gradient for fewer than two examples, between which nothing can be correlated.
    """
    n = len(first)
    if n < 2:
        nothing = 0 * (first.sum() + second.sum())
        return BarlowTwinsOutput(nothing, nothing)
    correlation = standardised(first).T @ standardised(second) / n
    own = correlation.diagonal()
    return BarlowTwinsOutput((1 - own).square().sum(), correlation.square().sum() - own.square().sum())


def standardised(rows: Float[Tensor, "*views n dim"]) -> Float[Tensor, "*views n dim"]:
    """Mean 0 and variance 1 in each dimension over the examples of a view: batch normalisation without weights."""
    centred = rows - rows.mean(-2, keepdim=True)
    return centred * (centred.square().mean(-2, keepdim=True) + EPSILON).rsqrt()
