"""CTR metrics against scikit-learn user by user, and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from usermodel.metrics.ctr import DEFINITIONS, ece, gauc, measure, n_one_class, reliability


def rows(n=400, users=30, seed=0, *, ties=False):
    rng = np.random.default_rng(seed)
    user = rng.integers(0, users, n)
    z = rng.normal(size=users)[user] + rng.normal(size=n)
    clicked = rng.random(n) < 1 / (1 + np.exp(-z))
    score = 1 / (1 + np.exp(-(np.round(z) if ties else z + rng.normal(size=n))))
    return score, clicked, user


@pytest.mark.parametrize("ties", [False, True])
def test_equals_scikit_learn(ties):
    score, clicked, user = rows(ties=ties)
    found = measure(score, clicked, user)
    assert list(found) == list(DEFINITIONS)
    assert found["auc"].value == pytest.approx(roc_auc_score(clicked, score))
    assert found["logloss"].value == pytest.approx(log_loss(clicked, score))
    total = weight = 0.0
    for one in np.unique(user):
        own = user == one
        if 0 < clicked[own].sum() < own.sum():
            total += own.sum() * roc_auc_score(clicked[own], score[own])
            weight += own.sum()
    assert found["gauc"].value == pytest.approx(total / weight)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.booleans()), min_size=1, max_size=30))
def test_gauc_equals_every_pair(drawn):
    user, score, clicked = (np.array(column) for column in zip(*drawn, strict=True))
    total = weight = 0
    for one in np.unique(user):
        up, down = score[(user == one) & clicked], score[(user == one) & ~clicked]
        if len(up) and len(down):
            n = (user == one).sum()
            total += n * ((up[:, None] > down) + 0.5 * (up[:, None] == down)).mean()
            weight += n
    wanted = total / weight if weight else 0.5
    assert gauc(score.astype(float), clicked, user).value == pytest.approx(wanted)


def test_users_of_one_class_are_counted_and_left_out():
    """User 0: both kinds, in order; user 1 all clicked, user 3 none; nobody is user 2."""
    user = np.array([0, 0, 1, 1, 3])
    clicked = np.array([True, False, True, True, False])
    score = np.array([0.9, 0.1, 0.2, 0.3, 0.4])
    assert gauc(score, clicked, user).value == 1.0
    assert n_one_class(clicked, user) == 2
    only = user > 0
    assert gauc(score[only], clicked[only], user[only]).value == 0.5


def test_constant_scores_are_at_chance():
    _, clicked, user = rows()
    found = measure(np.full(400, clicked.mean()), clicked, user)
    assert found["auc"].value == found["gauc"].value == 0.5
    assert found["ece"].value == pytest.approx(0, abs=1e-12)


def test_calibration_by_hand():
    """Two parts: 0.2 with one click of four (gap .05), 0.8 with two of two (gap .2)."""
    probability = np.array([0.2] * 4 + [0.8] * 2)
    clicked = np.array([True, False, False, False, True, True])
    assert ece(probability, clicked).value == pytest.approx((4 * 0.05 + 2 * 0.2) / 6)
    found = reliability(probability, clicked)
    assert found.probability.tolist() == pytest.approx([0.2, 0.8])
    assert found.clicked.tolist() == [0.25, 1.0]
    assert found.rows.tolist() == [4, 2]


@pytest.mark.parametrize("name", ["auc", "gauc", "logloss"])
def test_intervals_over_users_are_those_of_resampled_users(name):
    rng = np.random.default_rng(1)
    score, clicked, _ = rows(1200, 1)
    user = np.repeat(np.arange(150), 8)
    low, high = measure(score, clicked, user)[name].interval(user)
    resampled = []
    for _ in range(300):
        drawn = rng.integers(0, 150, 150)
        at = (drawn[:, None] * 8 + np.arange(8)).ravel()
        resampled.append(measure(score[at], clicked[at], np.repeat(np.arange(150), 8))[name].value)
    assert (high - low) / 2 == pytest.approx(1.96 * np.std(resampled), rel=0.2)
