"""Figures by hand, against scipy, and unchanged by rotation."""

import math

import numpy as np
import pytest
import scipy.spatial.distance
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group

from usermodel.errors import DataError, MismatchError, NumericError
from usermodel.metrics import rows
from usermodel.metrics.embedding_health import alignment, even_uniformity, moments, uniformity


def draw(n=60, dim=5, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, dim)) * rng.uniform(0.1, 3, size=dim) + rng.normal(size=dim)


def whole(n):
    return np.arange(n)


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_effective_rank_is_the_entropy_of_the_singular_values(block, monkeypatch):
    """In blocks of any size; a row of zeros is as if it were not there."""
    monkeypatch.setattr(rows, "_NUMBERS", block * 5)
    vectors = draw()
    singular = np.linalg.svd(vectors - vectors.mean(axis=0), compute_uv=False)
    share = singular / singular.sum()
    wanted = math.exp(-(share * np.log(share)).sum())
    found = moments(np.insert(vectors, [0, 3, 60], 0.0, axis=0))
    assert found.n == 60
    assert found.effective_rank() == pytest.approx(wanted, rel=1e-12)
    np.testing.assert_allclose(found.mean, vectors.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.scatter / 59, np.cov(vectors.T), rtol=1e-10)
    assert found.norms[[0, 4, 62]].tolist() == [0, 0, 0]


def test_effective_rank_by_hand():
    cross = np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    assert moments(cross).effective_rank() == pytest.approx(2)
    # Singular values 3 and 1 of a total of 4.
    wanted = math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert moments(cross * [3, 1]).effective_rank() == pytest.approx(wanted)
    assert moments(cross * [3, 0]).effective_rank() == pytest.approx(1)
    moved = cross + np.array([3, 0])
    # A common offset tells nobody apart; it shows as shared length: |mean|^2 = 9, mean |x|^2 = 10.
    assert moments(moved).effective_rank() == pytest.approx(2)
    assert moments(moved).shared_length() == pytest.approx(0.9)


def test_lengths_and_dead_coordinates_by_hand():
    found = moments(np.array([[3.0, 4, 0], [0, 0, 0], [6, 8, 0], [0, 5, 0]]))
    assert found.norms.tolist() == [5, 0, 10, 5]
    assert found.norm_variation() == pytest.approx(np.std([5, 10, 5]) / (20 / 3))
    assert found.dead_dimensions() == 1
    assert moments(draw() * [1, 1, 1e-4, 1, 1] + [0, 0, 9, 0, 0]).dead_dimensions() == 1


@pytest.mark.parametrize("tile", [7, 10_000])
def test_uniformity_is_that_of_the_paper(tile, monkeypatch):
    """Their code: ``torch.pdist(x).pow(2).mul(-2).exp().mean().log()``, which takes each pair once."""
    monkeypatch.setattr("usermodel.metrics.embedding_health._TILE", tile)
    vectors = draw(30)
    distance = scipy.spatial.distance.pdist(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    wanted = math.log(np.exp(-2 * distance**2).mean())
    assert uniformity(np.insert(vectors, 4, 0.0, axis=0)) == pytest.approx(wanted, rel=1e-12)


def test_uniformity_by_hand():
    assert uniformity(np.array([[1.0, 0], [-5, 0]])) == pytest.approx(-8)
    assert uniformity(np.array([[1.0, 0], [0, 2]])) == pytest.approx(-4)
    # Pairs at squared distances 4, 2 and 2.
    wanted = math.log((math.exp(-8) + 2 * math.exp(-4)) / 3)
    assert uniformity(np.array([[1.0, 0], [-1, 0], [0, 1]])) == pytest.approx(wanted)


def test_a_sample_of_pairs_is_close_and_its_seed_decides():
    vectors = draw(5000)
    exact = uniformity(vectors, most=5000)
    sampled = [uniformity(vectors, most=1000, seed=seed) for seed in (0, 0, 1)]
    assert sampled[0] == sampled[1] != sampled[2]
    assert sampled == pytest.approx([exact] * 3, abs=0.1)


@pytest.mark.parametrize("dim", [2, 3, 64])
def test_even_uniformity_is_that_of_a_sphere(dim):
    points = np.random.default_rng(0).normal(size=(4000, dim))
    assert uniformity(points) == pytest.approx(even_uniformity(dim), abs=0.01)
    if dim == 3:
        # On the sphere in three dimensions z is even on [-1, 1]: the mean of exp(4 z) is sinh(4) / 4.
        assert even_uniformity(3) == pytest.approx(-4 + math.log(math.sinh(4) / 4), rel=1e-12)


def test_alignment_by_hand():
    left = np.array([[2.0, 0], [0, 3], [0, 0], [1, 0]])
    right = np.array([[5.0, 0], [0, -1], [0, 0]])
    # Equal, opposite; two pairs have zeros on one side.
    found = alignment(left, right, np.array([0, 1, 2, 3]), np.array([0, 1, 0, 2]))
    assert (found.n, found.value) == (2, pytest.approx(2))
    # All four combinations: 0, 2, 2, 4.
    assert found.chance == pytest.approx(2)
    assert alignment(left, right, np.array([2]), np.array([0])) is None
    assert alignment(left, right, whole(0), whole(0)) is None


def test_alignment_at_chance_is_the_mean_of_all_combinations(monkeypatch):
    monkeypatch.setattr(rows, "_NUMBERS", 35)
    left, right = draw(20, seed=1), draw(20, seed=2)
    found = alignment(left, right, whole(20), whole(20)[::-1])
    unit = [table / np.linalg.norm(table, axis=1, keepdims=True) for table in (left, right)]
    square = scipy.spatial.distance.cdist(*unit) ** 2
    assert found.chance == pytest.approx(square.mean(), rel=1e-12)
    assert found.value == pytest.approx(np.diag(square[:, ::-1]).mean(), rel=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 7), st.integers(2, 40), st.floats(0.01, 100))
def test_neither_rotation_nor_scale_changes_a_figure(seed, dim, n, scale):
    vectors, other = draw(n, dim, seed), draw(n, dim, seed + 1)
    turn = ortho_group.rvs(dim, random_state=seed) * scale
    for read in (
        lambda left, _: moments(left).effective_rank(),
        lambda left, _: moments(left).shared_length(),
        lambda left, _: moments(left).norm_variation(),
        lambda left, _: uniformity(left),
        lambda left, right: alignment(left, right, whole(n), whole(n)).value,
        lambda left, right: alignment(left, right, whole(n), whole(n)).chance,
    ):
        assert read(vectors @ turn, other @ turn) == pytest.approx(read(vectors, other), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("vectors", [np.zeros((0, 3)), np.zeros((4, 3)), np.array([[1.0, 2, 3]])])
def test_too_few_vectors_have_no_figures(vectors):
    found = moments(vectors)
    assert found.effective_rank() is None
    assert found.dead_dimensions() is None
    assert uniformity(vectors) is None
    assert found.shared_length() == (pytest.approx(1) if found.n else None)
    assert found.norm_variation() == (0 if found.n else None)


@pytest.mark.parametrize("n", [2, 1000, 200_000])
def test_equal_vectors_have_rank_zero(n):
    vectors = np.tile(np.float32([0.1, -0.7, 1 / 3]), (n, 1))
    found = moments(vectors)
    assert found.effective_rank() == 0
    assert found.dead_dimensions() == 3
    assert found.shared_length() == pytest.approx(1)
    assert uniformity(vectors) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_named(value):
    vectors = draw()
    vectors[41, 2] = value
    for read in (
        moments,
        uniformity,
        lambda table: alignment(table, draw(), whole(60), whole(60)),
        lambda table: alignment(draw(), table, whole(60)[::-1], whole(60)[::-1]),
    ):
        with pytest.raises(NumericError, match="NaN or infinity in row 41"):
            read(vectors)


def test_what_is_no_table_is_refused():
    with pytest.raises(DataError, match=r"expected a matrix \[n, dim\]; found an array of shape \(3,\)"):
        moments(np.ones(3))
    with pytest.raises(MismatchError, match="expected vectors of one width; found 5 and 4"):
        alignment(draw(), draw(dim=4), whole(3), whole(3))
