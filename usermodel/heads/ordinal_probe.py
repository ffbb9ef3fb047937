"""An ordinal probe: classes in an order, as answers to "above this one?"

Source: Frank & Hall, "A Simple Approach to Ordinal Classification" (ECML 2001). Deviation: where neighbouring answers contradict each other, a
class has probability 0 and the others are scaled up.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Float64, Int64
from numpy import ndarray

from usermodel.heads.linear_probe import LinearProbe
from usermodel.heads.mlp_probe import MlpProbe


class OrdinalProbe:
    """``P(class k) = P(above k - 1) - P(above k)``, each by a probe of two classes.

    Args:
        make: A probe of two classes; called once for each border.
    """

    def __init__(self, make: Callable[[], LinearProbe | MlpProbe]) -> None:
        self._make, self._n_classes = make, 0
        self._probes: dict[int, LinearProbe | MlpProbe] = {}
        self._constant: dict[int, float] = {}

    def fit(self, x: Float[ndarray, "n dim"], code: Int64[ndarray, " n"], n_classes: int) -> OrdinalProbe:
        """Learn classes 0 to ``n_classes`` - 1, in this order; borders with rows on one side only are certain."""
        self._n_classes, self._probes, self._constant = n_classes, {}, {}
        for border in range(n_classes - 1):
            above = (code > border).astype(np.int64)
            if above.any() and not above.all():
                self._probes[border] = self._make().fit(x, above, 2)
            else:
                self._constant[border] = float(above[0])
        return self

    def probability(self, x: Float[ndarray, "n dim"]) -> Float64[ndarray, "n classes"]:
        """Of each class for each row."""
        above = np.ones((len(x), self._n_classes + 1))
        above[:, -1] = 0.0
        for border in range(self._n_classes - 1):
            known = self._constant.get(border)
            above[:, border + 1] = self._probes[border].probability(x)[:, 1] if known is None else known
        law = np.maximum(above[:, :-1] - above[:, 1:], 0.0)
        found: ndarray = law / law.sum(1, keepdims=True)
        return found
