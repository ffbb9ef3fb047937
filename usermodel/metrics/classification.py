"""How good guesses of classes are, with intervals over the rows: accuracy, macro-F1, AUC, log loss.

Intervals are those of `usermodel.metrics.estimate`. For AUC that is the variance of DeLong et al. (Biometrics 1988).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray
from scipy.stats import rankdata

from usermodel.metrics.estimate import Estimate, mean_of

#: Below every probability whose logarithm is taken.
_LEAST: Final = 1e-15

DEFINITIONS: Final = {
    "accuracy": "share of users whose most probable class is theirs",
    "macro_f1": "F1 of each class, mean over classes; a class that is neither there nor named has 0",
    "auc": "probability that a user of the class gets a higher score than one of another, ties half; of two classes the second "
    "one's, of more the mean over classes, each against the rest",
    "log_loss": "minus the natural logarithm of the probability of the right class, mean over users; lower is better",
}


def measure(probability: Float64[ndarray, "n classes"], truth: Int64[ndarray, " n"]) -> dict[str, Estimate]:
    """All metrics of `DEFINITIONS`, in that order.

    Args:
        probability: Of each class, for each row; rows sum to 1.
        truth: The right class of each row, from 0. Classes that no row has count for nothing but macro-F1.
    """
    guess: ndarray = probability.argmax(1)
    return {
        "accuracy": mean_of((guess == truth).astype(np.float64)),
        "macro_f1": macro_f1(guess, truth, probability.shape[1]),
        "auc": auc(probability, truth),
        "log_loss": mean_of(-np.log(np.maximum(probability[np.arange(len(truth)), truth], _LEAST))),
    }


def macro_f1(guess: Int64[ndarray, " n"], truth: Int64[ndarray, " n"], n_classes: int) -> Estimate:
    """Mean over classes of ``2 TP / (2 TP + FP + FN)``."""
    total, influence = 0.0, np.zeros(len(truth))
    for one in range(n_classes):
        named, right = guess == one, truth == one
        above, below = 2.0 * (named & right), 1.0 * named + 1.0 * right
        if below.any():
            f1 = above.sum() / below.sum()
            total += f1
            influence += (above - f1 * below) / below.mean()
    return Estimate(float(total / n_classes), influence / n_classes)


def auc(probability: Float64[ndarray, "n classes"], truth: Int64[ndarray, " n"]) -> Estimate:
    """Of two classes the area under the curve of the second; of more the mean over the classes that some rows have and others lack.

    Of rows of one class alone it is 0.5: nothing can be told apart.
    """
    n, n_classes = probability.shape
    classes = [1] if n_classes == 2 else range(n_classes)
    found = [
        _binary_auc(probability[:, one], truth == one) for one in classes if 0 < (truth == one).sum() < n
    ]
    if not found:
        return Estimate(0.5, np.zeros(n))
    values, influences = zip(*((one.value, one.influence) for one in found), strict=True)
    return Estimate(float(np.mean(values)), np.mean(influences, axis=0))


def _binary_auc(score: Float64[ndarray, " n"], positive: Bool[ndarray, " n"]) -> Estimate:
    n, n_positive = len(score), int(positive.sum())
    n_negative = n - n_positive
    # Placements: for a positive the share of negatives below it, for a negative the share of positives above it.
    placement = np.empty(n)
    everyone = rankdata(score)
    placement[positive] = (everyone[positive] - rankdata(score[positive])) / n_negative
    placement[~positive] = 1 - (everyone[~positive] - rankdata(score[~positive])) / n_positive
    value = float(placement[positive].mean())
    share = np.where(positive, n_positive / n, n_negative / n)
    return Estimate(value, (placement - value) / share)
