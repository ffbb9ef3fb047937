"""A linear probe: what can be read off frozen vectors by logistic regression (Alain & Bengio 2016, arXiv:1610.01644)."""

from __future__ import annotations

import warnings
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from numpy import ndarray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

#: Inverse strengths of the penalty, strongest first: each fit starts from the one before it.
STRENGTHS: Final = (0.001, 0.01, 0.1, 1.0, 10.0)
#: Share of the rows that choose among them.
_HELD_OUT: Final = 0.2
_STEPS: Final = 300


class LinearProbe:
    """Logistic regression on columns of mean 0 and variance 1, with an L2 penalty that a fifth of the rows chooses.

    The penalty is the one with the least log loss on that fifth, fitted again on all rows. Means and variances are those of the
    rows that are fitted.

    Attributes:
        strength: The one chosen of `STRENGTHS`.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed, self.strength = seed, STRENGTHS[0]
        self.n_classes = 0
        self._mean = self._scale = np.zeros(0)
        self._model = LogisticRegression()

    def fit(self, x: Float[ndarray, "n dim"], code: Int64[ndarray, " n"], n_classes: int) -> LinearProbe:
        """Learn classes 0 to ``n_classes`` - 1, of which at least two must be there."""
        self.n_classes = n_classes
        held_out = _share_of_each_class(code, np.random.default_rng(self.seed))
        fit, choose = np.flatnonzero(~held_out), np.flatnonzero(held_out)
        losses = []
        self._standardise(x[fit])
        self._model = _model()
        for strength in STRENGTHS if len(choose) else ():
            self._refit(x[fit], code[fit], strength)
            probability = self.probability(x[choose])[np.arange(len(choose)), code[choose]]
            losses.append(-np.log(np.maximum(probability, 1e-15)).mean())
        # With fewer than five rows of every class there is nothing to choose by: the strongest penalty then.
        self.strength = STRENGTHS[int(np.argmin(losses))] if len(choose) else STRENGTHS[0]
        self._standardise(x)
        self._model = _model()
        self._refit(x, code, self.strength)
        return self

    def probability(self, x: Float[ndarray, "n dim"]) -> Float64[ndarray, "n classes"]:
        """Of each class for each row; 0 for classes that were not there."""
        found = np.zeros((len(x), self.n_classes))
        found[:, self._model.classes_] = self._model.predict_proba((x - self._mean) / self._scale)
        return found

    def _standardise(self, x: Float[ndarray, "n dim"]) -> None:
        wide = x.astype(np.float64)
        self._mean, scale = wide.mean(0), wide.std(0)
        # A column that never changes says nothing, and stays at 0.
        self._scale = np.where(scale > 1e-12 * np.maximum(np.abs(self._mean), 1e-300), scale, 1.0)

    def _refit(self, x: Float[ndarray, "n dim"], code: Int64[ndarray, " n"], strength: float) -> None:
        self._model.set_params(C=strength)
        with warnings.catch_warnings():
            # The weakest penalties need many steps and are seldom chosen; where they are, the last step is near the end.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self._model.fit((x - self._mean) / self._scale, code)


def _share_of_each_class(code: Int64[ndarray, " n"], rng: np.random.Generator) -> Bool[ndarray, " n"]:
    """A fifth of the rows of each class, at random, rounded down."""
    order = rng.permutation(len(code))
    order = order[np.argsort(code[order], kind="stable")]
    count = np.bincount(code)
    place = np.arange(len(code)) - np.repeat(np.cumsum(count) - count, count)
    held_out = np.empty(len(code), dtype=bool)
    held_out[order] = place < np.repeat(np.floor(_HELD_OUT * count), count)
    return held_out


def _model() -> LogisticRegression:
    return LogisticRegression(max_iter=_STEPS, tol=1e-4, warm_start=True)
