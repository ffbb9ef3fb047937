"""k-means by FAISS: points -> centroids."""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from usermodel.ann.library import faiss
from usermodel.errors import NumericError

ITERATIONS: Final = 20


def kmeans(
    points: Float32[ndarray, "n dim"],
    k: int,
    *,
    start: Float32[ndarray, "k dim"] | None = None,
    iterations: int = ITERATIONS,
    restarts: int = 1,
    seed: int = 1,
) -> Float32[ndarray, "k dim"]:
    """Lloyd's algorithm under squared Euclidean distance; every point is used, and no cluster stays empty.

    Started from the centroids of similar points, clusters keep their numbers.

    Args:
        points: At least one.
        k: Clusters. With ``k`` points or fewer these are the centroids themselves, repeated in turn: clusters beyond the
            first of equal ones stay empty, because the nearest centroid is the first of them.
        start: Centroids to start from, in place of random points.
        iterations: Of each restart.
        restarts: Of random starts the one with the smallest distances is kept; with ``start`` all would be the same.
        seed: Of the random starts.

    Raises:
        NumericError: A coordinate is not finite.
        MissingError: FAISS is not installed.
    """
    assert len(points) > 0, "k-means of no points"
    points = np.ascontiguousarray(points, dtype=np.float32)
    if not np.isfinite(points).all():
        do = "Lower training.learning_rate, or set training.clip_norm."
        raise NumericError("k-means", expected="finite vectors", found="some that are not", do=do)
    if len(points) <= k:
        repeated: ndarray = points[np.arange(k) % len(points)]
        return repeated
    assert start is None or start.shape == (k, points.shape[1]), "as many centroids to start from as clusters"
    return _lloyd(points, k, start, iterations, restarts if start is None else 1, seed)


def _lloyd(
    points: Float32[ndarray, "n dim"],
    k: int,
    start: Float32[ndarray, "k dim"] | None,
    iterations: int,
    restarts: int,
    seed: int,
) -> Float32[ndarray, "k dim"]:
    n, dim = points.shape
    module = faiss()
    clustering = module.Clustering(dim, k)
    clustering.niter, clustering.nredo, clustering.seed = iterations, restarts, seed
    clustering.min_points_per_centroid, clustering.max_points_per_centroid = 1, -(-n // k)
    if start is not None:
        flat = np.ascontiguousarray(start, dtype=np.float32).ravel()
        module.copy_array_to_vector(flat, clustering.centroids)
    clustering.train(points, module.IndexFlatL2(dim))
    found: ndarray = module.vector_to_array(clustering.centroids).reshape(k, dim).copy()
    return found
