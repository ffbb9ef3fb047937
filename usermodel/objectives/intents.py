"""Intents: clusters of user vectors, found anew at the start of each epoch."""

from __future__ import annotations

from typing import Final

import torch
from jaxtyping import Float, Float32, Int64
from numpy import ndarray
from torch import Tensor, nn
from torch.nn.functional import normalize

from usermodel.ann.kmeans import kmeans

#: Vectors for each cluster, at most, as in ICSRec's released code; more are thinned out evenly.
POINTS_A_CLUSTER: Final = 4096


class Intents(nn.Module):
    """Centroids of k-means, and which one a vector belongs to.

    The first fit keeps the best of five random starts; later ones start from the centroids before, so that a cluster keeps its
    number from epoch to epoch (as ICSRec's released code does, through an object that FAISS lets live on).

    Args:
        n: Clusters. With fewer vectors than that, each vector is a cluster, and the others stay empty.
        dim: Width of the vectors.
    """

    def __init__(self, n: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("centroids", torch.zeros(n, dim))
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))
        self.centroids: Tensor
        self.fitted: Tensor

    @property
    def most_points(self) -> int:
        """So many vectors are enough for a fit."""
        return POINTS_A_CLUSTER * len(self.centroids)

    def fit(self, vectors: Float32[ndarray, "n dim"]) -> None:
        """Cluster vectors, or about `most_points` of them, spread evenly; nothing without any."""
        if not len(vectors):
            return
        vectors = vectors[:: max(1, len(vectors) // self.most_points)]
        start = self.centroids.cpu().numpy() if bool(self.fitted) else None
        found = kmeans(vectors, len(self.centroids), start=start, restarts=5)
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
