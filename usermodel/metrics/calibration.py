"""Calibration: from scores to probabilities that happen as often as they say.

Platt (1999): logistic regression on the log-odds. Isotonic regression (Zadrozny & Elkan, KDD 2002): the best function that never falls.
Both are those of scikit-learn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float64
from numpy import ndarray
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

Kind = Literal["none", "platt", "isotonic"]


@dataclass(frozen=True)
class Calibration:
    """Log-odds in, probabilities out.

    Attributes:
        kind: How.
        model: What was fitted; None for the sigmoid itself.
    """

    kind: Kind
    model: Any = None

    def probability(self, log_odds: Float64[ndarray, " n"]) -> Float64[ndarray, " n"]:
        """Of each row."""
        found: ndarray
        if self.kind == "platt":
            found = self.model.predict_proba(log_odds[:, None])[:, 1]
        elif self.kind == "isotonic":
            found = self.model.predict(log_odds)
        else:
            found = expit(log_odds)
        return np.asarray(found, dtype=np.float64)


def fit_calibration(
    kind: Kind, log_odds: Float64[ndarray, " n"], clicked: Bool[ndarray, " n"]
) -> Calibration:
    """Fit on rows that have not trained the model; ``none`` needs no row. The others need rows of both labels."""
    if kind == "platt":
        # Two numbers on many rows: no penalty.
        return Calibration(kind, LogisticRegression(C=np.inf).fit(log_odds[:, None], clicked))
    if kind == "isotonic":
        model = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
        return Calibration(kind, model.fit(log_odds, clicked))
    return Calibration(kind)
