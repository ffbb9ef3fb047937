"""Matrix factorisation: a vector a user, a vector an item, scored by their inner product.

Source: BPR-MF (Rendle et al. 2009), as the two-tower model of ids it is; the loss is the caller's. Deviation: without biases of
items, like LightGCN's comparison with it.
"""

from __future__ import annotations

from usermodel.baselines.factors import FactorModel


class MatrixFactorization(FactorModel):
    """``s(u, i) = e_u . e_i``; vectors are drawn from N(0, 0.1)."""
