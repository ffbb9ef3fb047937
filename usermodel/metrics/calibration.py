"""Calibration: from scores to probabilities that happen as often as they say.

Platt (1999): logistic regression on the log-odds. Isotonic regression (Zadrozny & Elkan, KDD 2002): the best function that never falls.
Both are those of scikit-learn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
        weights: What was fitted. Platt: one row, slope and intercept of the log-odds. Isotonic: knots, log-odds and probability, between
            which the function is straight.
    """

    kind: Kind = "none"
    weights: tuple[tuple[float, float], ...] = ()

    def probability(self, log_odds: Float64[ndarray, " n"]) -> Float64[ndarray, " n"]:
        """Of each row."""
        found: ndarray
        if self.kind == "isotonic":
            found = np.interp(log_odds, *np.array(self.weights).T)
        else:
            ((slope, intercept),) = self.weights or ((1.0, 0.0),)
            found = expit(slope * log_odds + intercept)
        return found


def fit_calibration(
    kind: Kind, log_odds: Float64[ndarray, " n"], clicked: Bool[ndarray, " n"]
) -> Calibration:
    """Fit on rows that have not trained the model; ``none`` needs no row. The others need rows of both labels."""
    if kind == "platt":
        # Two numbers on many rows: no penalty.
        line = LogisticRegression(C=np.inf).fit(log_odds[:, None], clicked)
        return Calibration(kind, ((float(line.coef_[0, 0]), float(line.intercept_[0])),))
    if kind == "isotonic":
        model = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(log_odds, clicked)
        knots = zip(model.X_thresholds_.tolist(), model.y_thresholds_.tolist(), strict=True)
        return Calibration(kind, tuple(knots))
    return Calibration()
