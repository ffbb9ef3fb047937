"""A small perceptron as a probe: what can be read off frozen vectors that is there, but not along a straight line."""

from __future__ import annotations

import warnings
from typing import Final

import numpy as np
from jaxtyping import Float, Float64, Int64
from numpy import ndarray
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

HIDDEN: Final = 64
#: Rows of the rarest class from which a tenth of them can say when to stop.
_ENOUGH: Final = 20
_EPOCHS: Final = 200


class MlpProbe:
    """One hidden layer of rectifiers on columns of mean 0 and variance 1, scikit-learn's `MLPClassifier`.

    It stops when a tenth of the rows is guessed no better for ten epochs; with fewer than 20 rows of a class after 200 epochs, or
    when its own loss stands still.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed, self.n_classes = seed, 0
        self._model = make_pipeline(StandardScaler(), MLPClassifier())

    def fit(self, x: Float[ndarray, "n dim"], code: Int64[ndarray, " n"], n_classes: int) -> MlpProbe:
        """Learn classes 0 to ``n_classes`` - 1, of which at least two must be there."""
        self.n_classes = n_classes
        counts = np.bincount(code)
        stops = bool(counts[counts > 0].min() >= _ENOUGH)
        layer = MLPClassifier(
            (HIDDEN,), early_stopping=stops, max_iter=_EPOCHS, random_state=self.seed, alpha=1e-3
        )
        self._model = make_pipeline(StandardScaler(), layer)
        with warnings.catch_warnings():
            # Where nothing says when to stop, the last epoch is as good as any.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self._model.fit(x.astype(np.float64), code)
        return self

    def probability(self, x: Float[ndarray, "n dim"]) -> Float64[ndarray, "n classes"]:
        """Of each class for each row; 0 for classes that were not there."""
        found = np.zeros((len(x), self.n_classes))
        found[:, self._model.classes_] = self._model.predict_proba(x.astype(np.float64))
        return found
