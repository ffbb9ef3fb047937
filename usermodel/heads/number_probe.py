"""Probes of a number: ridge regression on frozen vectors, or a small perceptron."""

from __future__ import annotations

import warnings
from typing import Final, Literal

import numpy as np
from jaxtyping import Float, Float64
from numpy import ndarray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import RidgeCV
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from usermodel.heads.mlp_probe import HIDDEN

#: Penalties; leave-one-out chooses.
PENALTIES: Final = tuple(float(10.0**power) for power in range(-2, 6))
_ENOUGH: Final = 100
_EPOCHS: Final = 200


class NumberProbe:
    """``linear``: ridge regression, whose penalty leave-one-out chooses. ``mlp``: one hidden layer of rectifiers.

    Columns and the number itself have mean 0 and variance 1 while it learns. scikit-learn's `RidgeCV` and `MLPRegressor`.
    """

    def __init__(self, kind: Literal["linear", "mlp"] = "linear", seed: int = 0) -> None:
        self.kind, self.seed = kind, seed
        self._mean, self._scale = 0.0, 1.0
        self._model = make_pipeline(StandardScaler(), RidgeCV(PENALTIES))

    def fit(self, x: Float[ndarray, "n dim"], y: Float64[ndarray, " n"]) -> NumberProbe:
        """Learn from rows."""
        self._mean, self._scale = float(y.mean()), float(y.std()) or 1.0
        if self.kind == "mlp":
            # A tenth of few rows cannot say when to stop.
            layer = MLPRegressor(
                hidden_layer_sizes=(HIDDEN,),
                early_stopping=len(y) >= _ENOUGH,
                max_iter=_EPOCHS,
                random_state=self.seed,
                alpha=1e-3,
            )
            self._model = make_pipeline(StandardScaler(), layer)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            self._model.fit(x.astype(np.float64), (y - self._mean) / self._scale)
        return self

    def guess(self, x: Float[ndarray, "n dim"]) -> Float64[ndarray, " n"]:
        """The number of each row."""
        found: ndarray = self._model.predict(x.astype(np.float64)) * self._scale + self._mean
        return found
