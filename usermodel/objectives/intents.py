"""Intents: clusters of user vectors, found anew at the start of each epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float, Float32, Int64
from numpy import ndarray
from torch import Tensor, nn
from torch.nn.functional import normalize

from usermodel.ann.kmeans import kmeans


@dataclass(frozen=True)
class Effort:
    """How thoroughly clusters are looked for.

    Attributes:
        points: Vectors for each cluster, at most; more are thinned out evenly.
        iterations: Of k-means.
        restarts: Random starts of the first fit, of which the best is kept.
    """

    points: int
    iterations: int
    restarts: int


#: ICSRec's released code.
THOROUGH: Final = Effort(points=4096, iterations=20, restarts=5)
#: Takes a small part of an epoch. FAISS itself advises so many points.
QUICK: Final = Effort(points=256, iterations=10, restarts=1)


class Intents(nn.Module):
    """Centroids of k-means, and which one a vector belongs to.

    The first fit starts from random vectors; later ones start from the centroids before, so that a cluster keeps its
    number from epoch to epoch (as ICSRec's released code does, through an object that FAISS lets live on).

    Args:
        n: Clusters. With fewer vectors than that, each vector is a cluster, and the others stay empty.
        dim: Width of the vectors.
        effort: `THOROUGH` or `QUICK`.
    """

    def __init__(self, n: int, dim: int, effort: Effort = THOROUGH) -> None:
        super().__init__()
        self.effort = effort
        self.register_buffer("centroids", torch.zeros(n, dim))
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))
        self.centroids: Tensor
        self.fitted: Tensor

    @property
    def most_points(self) -> int:
        """So many vectors are enough for a fit."""
        return self.effort.points * len(self.centroids)

    def fit(self, vectors: Float32[ndarray, "n dim"]) -> None:
        """Cluster vectors, or about `most_points` of them, spread evenly; nothing without any."""
        if not len(vectors):
            return
        vectors = vectors[:: max(1, len(vectors) // self.most_points)]
        start = self.centroids.cpu().numpy() if bool(self.fitted) else None
        found = kmeans(
            vectors,
            len(self.centroids),
            start=start,
            iterations=self.effort.iterations,
            restarts=self.effort.restarts,
        )
        self.centroids.copy_(torch.from_numpy(found))
        self.fitted.fill_(True)

    @torch.no_grad()
    def of(self, vectors: Float[Tensor, "n dim"]) -> Int64[Tensor, " n"]:
        """The nearest centroid by Euclidean distance."""
        vectors = vectors.float()
        # ||c||^2 / 2 - v.c: the square of the vector is the same for all centroids.
        return (self.centroids.square().sum(1) / 2 - vectors @ self.centroids.T).argmin(1)

    def prototypes(self, number: Int64[Tensor, " n"]) -> Float[Tensor, "n dim"]:
        """Centroids of length 1; they have no gradient."""
        return normalize(self.centroids[number], dim=1)
