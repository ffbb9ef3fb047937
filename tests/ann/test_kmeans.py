"""k-means: planted clusters, warm starts, and the smallest inputs."""

import numpy as np
import pytest

from usermodel.ann.kmeans import kmeans
from usermodel.errors import NumericError


def planted(rng, n=600, k=5, dim=8, noise=0.05):
    centres = rng.normal(size=(k, dim)).astype(np.float32) * 3
    which = rng.integers(0, k, n)
    return (centres[which] + noise * rng.normal(size=(n, dim))).astype(np.float32), which, centres


def nearest(points, centroids):
    return ((points[:, None] - centroids) ** 2).sum(2).argmin(1)


def test_finds_planted_clusters():
    points, which, _ = planted(np.random.default_rng(0))
    found = nearest(points, kmeans(points, 5, restarts=20))
    pairs = set(zip(which.tolist(), found.tolist(), strict=True))
    assert len(pairs) == 5


def test_a_fixed_point_stays():
    """Lloyd's condition: each centroid is the mean of its points."""
    points, _, _ = planted(np.random.default_rng(1), noise=1.0)
    centroids = kmeans(points, 7, iterations=100, restarts=2)
    which = nearest(points, centroids)
    means = np.stack([points[which == c].mean(0) for c in range(7)])
    np.testing.assert_allclose(centroids, means, atol=1e-4)
    np.testing.assert_allclose(kmeans(points, 7, start=centroids, iterations=1), centroids, atol=1e-4)


def test_a_warm_start_keeps_the_numbers_of_clusters_and_a_cold_one_does_not():
    rng = np.random.default_rng(2)
    points, _, _ = planted(rng, k=8, noise=0.3)
    before = kmeans(points, 8, restarts=5)
    later = points[rng.permutation(len(points))] + 0.01 * rng.normal(size=points.shape).astype(np.float32)
    warm, cold = kmeans(later, 8, start=before), kmeans(later, 8, seed=9)
    assert (nearest(points, warm) == nearest(points, before)).mean() > 0.99
    assert (nearest(points, cold) == nearest(points, before)).mean() < 0.9


def test_every_point_is_used():
    """FAISS would take 256 points a cluster; the mean of all is another one."""
    points = np.random.default_rng(3).normal(size=(5000, 4)).astype(np.float32)
    np.testing.assert_allclose(kmeans(points, 1)[0], points.mean(0), atol=1e-4)


def test_equal_seeds_give_equal_centroids():
    points, _, _ = planted(np.random.default_rng(4), noise=1.0)
    assert np.array_equal(kmeans(points, 6), kmeans(points, 6))
    assert not np.array_equal(kmeans(points, 6), kmeans(points, 6, seed=3))


@pytest.mark.parametrize("n", [1, 2, 4])
def test_fewer_points_than_clusters_are_the_centroids(n):
    points = np.arange(n * 3, dtype=np.float32).reshape(n, 3)
    found = kmeans(points, 4)
    assert found.shape == (4, 3)
    assert np.array_equal(found[:n], points)
    assert set(map(tuple, found.tolist())) == set(map(tuple, points.tolist()))


def test_equal_points_are_finite():
    assert np.isfinite(kmeans(np.ones((50, 3), dtype=np.float32), 4)).all()


def test_vectors_that_are_not_finite_are_refused():
    points = np.ones((50, 3), dtype=np.float32)
    points[3, 1] = np.nan
    with pytest.raises(NumericError, match="finite vectors"):
        kmeans(points, 4)
