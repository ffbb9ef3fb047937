"""Two dimensions out of many, honestly: principal components.

Neighbour maps (t-SNE, UMAP) draw islands that need not be there. Principal components are a linear view: what looks far
apart is far apart, and the share of the variance that the picture shows is a number to print beside it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import scipy.linalg
from jaxtyping import Float, Float32, Float64, Int64
from numpy import ndarray

from usermodel.errors import DataError, NumericError

_BLOCK: Final = 65_536
#: Fewer points than this have no neighbourhoods to speak of.
_FEWEST: Final = 10


class Projection(NamedTuple):
    """A two-dimensional view of vectors.

    Attributes:
        points: Coordinates on the first two principal components, in the unit of the vectors, centred.
        explained: Share of the variance on each of the two components, between 0 and 1.
    """

    points: Float32[ndarray, "n 2"]
    explained: Float64[ndarray, " 2"]

    @property
    def caption(self) -> str:
        """A sentence that names the projection and what it shows."""
        first, second = 100 * self.explained
        return (
            f"Principal components: the first shows {first:.1f}\u00a0% of the variance, the second {second:.1f}\u00a0%, "
            f"together {first + second:.1f}\u00a0%. A linear view: what looks far apart is far apart; points that look close may differ "
            "in directions that are not drawn."
        )

    @property
    def axes(self) -> tuple[str, str]:
        """Names of the two axes for a figure."""
        first, second = 100 * self.explained
        return f"first component ({first:.1f}\u00a0%)", f"second component ({second:.1f}\u00a0%)"


def project_2d(vectors: Float[ndarray, "n dim"]) -> Projection:
    """Principal components of vectors, in float64, block by block (memory: ``dim * dim`` and one block).

    The sign of a component is free; here its largest coefficient in absolute value is positive (the first of several).
    Missing components (one point, one dimension, equal vectors) are zero.

    Args:
        vectors: At least one row; memory-mapped arrays are read twice.

    Returns:
        Points and explained variance.

    Raises:
        DataError: Not a matrix, or no vectors.
        NumericError: A value is not finite.
    """
    vectors = np.asanyarray(vectors)
    if vectors.ndim != 2 or 0 in vectors.shape:
        found = f"an array of shape {vectors.shape}"
        raise DataError(
            "vectors",
            expected="a matrix [n, dim] with at least one entry",
            found=found,
            do="Embed at least one user.",
        )
    starts = range(0, len(vectors), _BLOCK)
    mean = sum((_block(vectors, start).sum(axis=0) for start in starts), np.zeros(vectors.shape[1])) / len(
        vectors
    )
    scatter = np.zeros((vectors.shape[1], vectors.shape[1]))
    for start in starts:
        centred = _block(vectors, start) - mean
        scatter += centred.T @ centred
    components, explained = _components(scatter)
    points = np.concatenate([(_block(vectors, start) - mean) @ components for start in starts])
    return Projection(points.astype(np.float32), explained)


def _block(vectors: ndarray, start: int) -> Float64[ndarray, "block dim"]:
    block = np.asarray(vectors[start : start + _BLOCK], dtype=np.float64)
    if not np.isfinite(block).all():
        row = start + int(np.argmin(np.isfinite(block).all(axis=1)))
        raise NumericError(
            "vectors",
            expected="finite values",
            found=f"NaN or infinity in row {row}",
            do="Check the encoder.",
        )
    return block


def _components(
    scatter: Float64[ndarray, "dim dim"],
) -> tuple[Float64[ndarray, "dim 2"], Float64[ndarray, " 2"]]:
    """The two leading eigenvectors with their sign fixed, and their shares of the trace."""
    dim, total = len(scatter), float(np.trace(scatter))
    components, explained = np.zeros((dim, 2)), np.zeros(2)
    if total <= 0:
        return components, explained
    n_found = min(dim, 2)
    values, vectors = scipy.linalg.eigh(scatter, subset_by_index=[dim - n_found, dim - 1])
    values, vectors = values[::-1], vectors[:, ::-1]
    largest = vectors[np.abs(vectors).argmax(axis=0), np.arange(n_found)]
    real = values > total * 1e-14
    components[:, :n_found] = np.where(real, vectors * np.sign(largest), 0.0)
    explained[:n_found] = np.where(real, values / total, 0.0)
    return components, explained


class Neighbourhood(NamedTuple):
    """A two-dimensional view that keeps neighbours together.

    Attributes:
        points: One per drawn row.
        rows: Which rows of the vectors they are, increasing.
        caption: A sentence that names the projection and how to read it.
    """

    points: Float32[ndarray, "m 2"]
    rows: Int64[ndarray, " m"]
    caption: str


def map_neighbours(
    vectors: Float[ndarray, "n dim"], *, max_points: int = 1500, seed: int = 0
) -> Neighbourhood:
    """t-SNE of vectors by cosine (van der Maaten & Hinton 2008), started from the principal components.

    Args:
        vectors: At least one row; rows of zeros stay at the origin of the unit ball.
        max_points: Rows drawn; a random sample when there are more, because the cost grows faster than the number.
        seed: Seed of the sample and of the map.

    Returns:
        Points, their rows and a caption.
    """
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(len(vectors), min(max_points, len(vectors)), replace=False))
    some = np.asarray(vectors[rows], dtype=np.float64)
    some /= np.maximum(np.linalg.norm(some, axis=1, keepdims=True), 1e-12)
    if len(rows) < _FEWEST:
        flat = project_2d(some)
        return Neighbourhood(flat.points, rows, flat.caption)
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(rows) - 1) / 3)
    points = TSNE(init="pca", perplexity=perplexity, random_state=seed).fit_transform(some)
    caption = (
        f"t-SNE of {len(rows):,} of {len(vectors):,} users by cosine, perplexity {perplexity:.0f}. Close points are alike; "
        "distances between groups and sizes of groups mean nothing."
    )
    return Neighbourhood(points.astype(np.float32), rows, caption)
