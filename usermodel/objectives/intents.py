"""Intents: clusters of user vectors, found anew at the start of each epoch."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import normalize

from usermodel.ann.kmeans import kmeans
from usermodel.encoders.encode import encode
from usermodel.encoders.protocol import EncoderModule
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore

#: Vectors for each cluster, at most, as in ICSRec's released code; more are thinned out evenly.
POINTS_A_CLUSTER = 4096


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

    def fit(self, encoder: EncoderModule, store: SequenceStore, examples: Examples) -> None:
        """Encode the slices of ``examples`` without dropout, and cluster what comes out; nothing without examples."""
        most = POINTS_A_CLUSTER * len(self.centroids)
        if len(examples) > most:
            examples = examples.take(np.linspace(0, len(examples) - 1, most).astype(np.int64))
        if not len(examples):
            return
        start = self.centroids.cpu().numpy() if bool(self.fitted) else None
        found = kmeans(encode(encoder, store, examples), len(self.centroids), start=start, restarts=5)
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
