import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group
from sklearn.linear_model import Ridge

from usermodel.errors import DataError, NumericError
from usermodel.metrics import rows
from usermodel.metrics.popularity_leakage import FOLDS, folds, popularity_r2


def world(n=200, dim=6, noise=0.5, seed=0):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, dim)) + 3
    log_counts = 6 + (vectors - 3) @ rng.normal(size=dim) / np.sqrt(dim) + noise * rng.normal(size=n)
    return vectors, np.maximum(np.expm1(log_counts), 0).astype(np.int64)


@pytest.mark.parametrize("numbers", [60, 1 << 22])
@pytest.mark.parametrize(("n", "dim"), [(200, 6), (203, 1), (30, 40)])
def test_equals_ridge_regressions_of_scikit_learn(n, dim, numbers, monkeypatch):
    monkeypatch.setattr(rows, "_NUMBERS", numbers)
    vectors, counts = world(n, dim)
    y, fold, predicted = np.log1p(counts), folds(n, 0), np.zeros(n)
    for number in range(FOLDS):
        kept = fold != number
        alpha = 1e-3 * np.square(vectors[kept] - vectors[kept].mean(axis=0)).sum() / dim
        predicted[~kept] = Ridge(alpha=alpha).fit(vectors[kept], y[kept]).predict(vectors[~kept])
    wanted = 1 - np.square(y - predicted).sum() / np.square(y - y.mean()).sum()
    assert popularity_r2(vectors, counts) == pytest.approx(wanted, rel=1e-9)


def test_every_row_is_left_out_once():
    fold = folds(203, 1)
    assert np.bincount(fold).tolist() == [41, 41, 41, 40, 40]
    assert fold.tolist() != sorted(fold)
    assert (folds(203, 1) == fold).all()


def test_vectors_that_know_nothing_score_about_zero_and_not_dim_over_n():
    rng = np.random.default_rng(0)
    vectors, counts = rng.normal(size=(300, 100)), rng.integers(1, 1000, size=300)
    in_sample = Ridge(alpha=1e-3).fit(vectors, np.log1p(counts)).score(vectors, np.log1p(counts))
    assert in_sample > 0.3
    assert popularity_r2(vectors, counts) < 0


def test_a_vector_that_is_the_count_says_all():
    counts = np.arange(1, 101)
    assert popularity_r2(np.log1p(counts)[:, None], counts) == pytest.approx(1, abs=1e-4)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 8), st.floats(0.01, 100))
def test_neither_rotation_nor_scale_changes_it(seed, dim, scale):
    vectors, counts = world(40, dim, seed=seed)
    turned = vectors @ ortho_group.rvs(dim, random_state=seed) * scale
    assert popularity_r2(turned, counts) == pytest.approx(popularity_r2(vectors, counts), rel=1e-6, abs=1e-9)


def test_an_offset_of_all_vectors_changes_nothing():
    vectors, counts = world(60)
    assert popularity_r2(vectors + 1e6, counts) == pytest.approx(popularity_r2(vectors, counts), rel=1e-6)


@pytest.mark.parametrize("n", [0, 1, 9])
def test_too_few_items(n):
    assert popularity_r2(np.ones((n, 3)), np.arange(n)) is None


def test_what_does_not_vary():
    assert popularity_r2(np.random.default_rng(0).normal(size=(20, 3)), np.full(20, 7)) is None
    # Equal vectors predict the mean of the folds that remain, which is a little worse than that of all.
    assert -0.2 < popularity_r2(np.ones((20, 3)), np.arange(20)) < 0


def test_what_cannot_be_measured_is_named():
    with pytest.raises(DataError, match="expected one per vector; found 3 counts for 4 vectors"):
        popularity_r2(np.ones((4, 2)), np.ones(3, dtype=np.int64))
    vectors, counts = world(20)
    vectors[7, 0] = np.inf
    with pytest.raises(NumericError, match="row 7"):
        popularity_r2(vectors, counts)
