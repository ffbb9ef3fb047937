"""A linear probe reads off what is linear, and nothing where there is nothing."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from usermodel.heads.linear_probe import STRENGTHS, LinearProbe, _share_of_each_class


def planted(n=600, dim=8, n_classes=3, seed=0):
    """Classes by the largest of three linear functions, in columns of very different size."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, dim))
    rule = rng.normal(size=(dim, n_classes))
    return (5.0 + x * 10.0 ** np.arange(-3, dim - 3)).astype(np.float32), (x @ rule).argmax(1)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_recovers_a_planted_linear_rule(n_classes):
    x, code = planted(1200, n_classes=n_classes)
    probe = LinearProbe().fit(x[:800], code[:800], n_classes)
    probability = probe.probability(x[800:])
    assert (probability.argmax(1) == code[800:]).mean() > 0.95
    assert probability.sum(1) == pytest.approx(1)
    assert probe.strength >= 1.0


def test_chooses_a_strong_penalty_on_noise():
    rng = np.random.default_rng(0)
    x, code = rng.normal(size=(200, 40)), rng.integers(0, 2, 200)
    probe = LinearProbe().fit(x, code, 2)
    assert probe.strength == STRENGTHS[0]
    assert np.abs(probe.probability(x) - 0.5).max() < 0.15


def test_is_logistic_regression_on_standard_columns():
    x, code = planted()
    probe = LinearProbe().fit(x, code, 3)
    wide = x.astype(np.float64)
    standard = (wide - wide.mean(0)) / wide.std(0)
    plain = LogisticRegression(C=probe.strength, max_iter=5000, tol=1e-8).fit(standard, code)
    np.testing.assert_allclose(probe.probability(x), plain.predict_proba(standard), atol=5e-3)


def test_classes_of_one_row_and_classes_that_are_not_there():
    x, code = planted(60)
    code = np.where(code == 2, 4, code)
    code[0] = 3
    probe = LinearProbe().fit(x, code, 6)
    probability = probe.probability(x)
    assert probability.shape == (60, 6)
    assert (probability[:, [2, 5]] == 0).all()
    assert (probability[:, 3] > 0).all()


def test_too_few_rows_to_choose_by_get_the_strongest_penalty():
    x, _ = planted(8)
    assert LinearProbe().fit(x, np.arange(8) % 2, 2).strength == STRENGTHS[0]


def test_a_column_that_never_changes_says_nothing():
    x, code = planted()
    same = np.column_stack([x, np.full(len(x), 7.0)])
    one, other = LinearProbe().fit(x, code, 3), LinearProbe().fit(same, code, 3)
    np.testing.assert_allclose(one.probability(x), other.probability(same), atol=1e-3)


def test_the_same_seed_gives_the_same_probe():
    x, code = planted(100)
    one, two = (LinearProbe(3).fit(x, code, 3).probability(x) for _ in range(2))
    assert (one == two).all()


def test_a_fifth_of_each_class_is_held_out_rounded_down():
    code = np.repeat([0, 1, 2, 3], [50, 9, 5, 4])
    held_out = _share_of_each_class(code, np.random.default_rng(0))
    assert np.bincount(code[held_out], minlength=4).tolist() == [10, 1, 1, 0]
    other = _share_of_each_class(code, np.random.default_rng(1))
    assert (held_out != other).any()
