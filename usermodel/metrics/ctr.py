"""How good probabilities of clicks are: AUC, AUC within users, log loss, calibration, with what each row contributes.

Rows of users whose labels are all alike say nothing of GAUC and are left out of it, counted. ``logloss`` is in natural logarithms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray

from usermodel.metrics.classification import auc
from usermodel.metrics.estimate import Estimate, mean_of, nothing, ratio_of
from usermodel.metrics.parts import equal_parts

DEFINITIONS: Final = {
    "auc": "probability that a clicked row has a higher score than one that was not clicked, ties half",
    "gauc": "AUC within each user who has both kinds of rows, mean over these users by their number of rows; others are left out",
    "logloss": "minus the natural logarithm of the probability of what happened, mean over rows; lower is better",
    "ece": "rows in ten parts of equal size by probability: absolute difference of mean probability and share of clicks, mean over "
    "the parts by their size; lower is better",
}
#: Below every probability whose logarithm is taken.
_LEAST: Final = 1e-15
_PARTS: Final = 10


@dataclass(frozen=True)
class Reliability:
    """Parts of about equal size by probability, the lowest first.

    Attributes:
        probability: Mean of each part.
        clicked: Share of clicks of each part.
        rows: Number of rows of each part.
    """

    probability: Float64[ndarray, " parts"]
    clicked: Float64[ndarray, " parts"]
    rows: Int64[ndarray, " parts"]


def measure(
    probability: Float64[ndarray, " n"],
    clicked: Bool[ndarray, " n"],
    user: Int64[ndarray, " n"],
    score: Float64[ndarray, " n"] | None = None,
) -> dict[str, Estimate]:
    """All metrics of `DEFINITIONS`, in that order; there must be a row. Where nothing can be told apart, AUC is 0.5, without interval.

    Args:
        probability: Of a click.
        clicked: Whether there was one.
        user: Whose row it is, from 0.
        score: What rows are ordered by, such as log-odds; None means the probability.
    """
    right = np.where(clicked, probability, 1 - probability)
    score = probability if score is None else score
    return {
        "auc": auc(np.column_stack([-score, score]), clicked.astype(np.int64)),
        "gauc": gauc(score, clicked, user),
        "logloss": mean_of(-np.log(np.maximum(right, _LEAST))),
        "ece": ece(probability, clicked),
    }


def gauc(score: Float64[ndarray, " n"], clicked: Bool[ndarray, " n"], user: Int64[ndarray, " n"]) -> Estimate:
    """See `DEFINITIONS`; 0.5 where no user has both kinds of rows."""
    wins, pairs = _within(score, clicked, user)
    weight = np.where(pairs[user] > 0, 1.0, 0.0)
    if not weight.any():
        return nothing(0.5, len(score))
    # Each row of a user stands for an equal part of the user's AUC.
    of_users = wins / np.maximum(pairs, 1)
    return ratio_of(weight * of_users[user], weight)


def n_one_class(clicked: Bool[ndarray, " n"], user: Int64[ndarray, " n"]) -> int:
    """Users whose rows are all clicked, or none of them: those that GAUC leaves out."""
    rows, clicks = np.bincount(user), np.bincount(user, clicked)
    return int(((rows > 0) & ((clicks == 0) | (clicks == rows))).sum())


def _within(
    score: Float64[ndarray, " n"], clicked: Bool[ndarray, " n"], user: Int64[ndarray, " n"]
) -> tuple[Float64[ndarray, " users"], Float64[ndarray, " users"]]:
    """For each user the pairs of a clicked and another row that are in order, ties half; and all such pairs."""
    # Ranks of all rows, and then within each user: equal scores share the middle of their ranks.
    order = np.lexsort((score, user))
    of_user, of_score = user[order], score[order]
    begins = np.flatnonzero(np.append(True, (of_user[1:] != of_user[:-1]) | (of_score[1:] != of_score[:-1])))
    lengths = np.diff(np.append(begins, len(order)))
    first = np.searchsorted(of_user, of_user, side="left")
    rank = np.repeat(begins + (lengths + 1) / 2, lengths) - first
    positive = np.bincount(user, clicked)
    negative = np.bincount(user) - positive
    sums = np.bincount(of_user, rank * clicked[order])
    return sums - positive * (positive + 1) / 2, positive * negative


def ece(probability: Float64[ndarray, " n"], clicked: Bool[ndarray, " n"]) -> Estimate:
    """See `DEFINITIONS`; the borders of the parts are taken as given."""
    part = equal_parts(probability, _PARTS)
    gap = np.bincount(part, probability) - np.bincount(part, clicked)
    signed = np.sign(gap)[part] * (probability - clicked)
    return mean_of(signed)


def reliability(probability: Float64[ndarray, " n"], clicked: Bool[ndarray, " n"]) -> Reliability:
    """What `ece` sums up; equal probabilities are in one part, so there may be fewer."""
    part = equal_parts(probability, _PARTS)
    rows = np.bincount(part)
    some = rows > 0
    means = [np.bincount(part, values)[some] / rows[some] for values in (probability, clicked)]
    return Reliability(means[0], means[1], rows[some])
