"""Logistic regression of a few features, for samplers that fit a probability at refresh."""

from __future__ import annotations

from typing import Any, Final, cast

import numpy as np
from jaxtyping import Bool, Float64
from numpy import ndarray
from scipy.optimize import minimize
from scipy.special import expit

#: Half of it times the squared length of the coefficients of standardised features is added: without it separable classes
#: would have no optimum.
RIDGE: Final = 1.0


def fit_logistic(
    features: Float64[ndarray, "n features"], label: Bool[ndarray, " n"]
) -> Float64[ndarray, " coefficients"]:
    """The intercept and a coefficient for each feature of ``P(label) = sigmoid(c_0 + sum_f c_f x_f)``.

    Maximum likelihood with a ridge (`RIDGE`) on coefficients of features brought to mean 0 and deviation 1; returned are those
    of the features as they are. A constant feature has coefficient 0.
    """
    mean, deviation = features.mean(0), features.std(0)
    scale = np.where(deviation > 0, deviation, 1.0)
    x = np.column_stack([np.ones(len(features)), (features - mean) / scale])
    ridge = np.append(0.0, np.full(features.shape[1], RIDGE))

    def loss(c: ndarray) -> tuple[float, ndarray]:
        score = x @ c
        value = np.logaddexp(0.0, score).sum() - score[label].sum() + ridge @ c**2 / 2
        return float(value), x.T @ (expit(score) - label) + ridge * c

    found = cast("Any", minimize(loss, np.zeros(x.shape[1]), jac=True, method="BFGS")).x
    slopes = found[1:] / scale
    return np.append(found[0] - slopes @ mean, slopes)
