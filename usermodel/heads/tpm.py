"""TPM: watch time as a leaf of a binary tree, found by one yes-or-no question a level.

Source: Lin et al., "Tree based Progressive Regression Model for Watch-Time Prediction in Short-video Recommendation" (KDD 2023).
Deviation: the squared error and the spread of the leaves are of labels over their standard deviation, so that the weights of the
parts mean the same for seconds and hours.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from numpy import ndarray
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from usermodel.heads.watch_time import WatchTimeConfig, WatchTimeHead, mean_of_rows, scalar


class TpmConfig(WatchTimeConfig):
    """The tree, and the weights of the loss.

    Attributes:
        depth: Levels; the tree has 2^depth leaves of about as many training rows each.
        error: Weight of the squared error of the guess.
        spread: Weight of the standard deviation of the leaves' law.
    """

    depth: int = Field(default=5, ge=1, le=12)
    error: float = Field(default=1.0, ge=0)
    spread: float = Field(default=1e-4, ge=0)

    def statistics(
        self, label: Float64[ndarray, " rows"], duration: Float64[ndarray, " rows"]
    ) -> dict[str, Tensor]:
        """``edges`` between leaves, ``middles`` of leaves, and the standard deviation of the labels."""
        del duration
        leaves = 2**self.depth
        # As batches hold them: a label on a border stays in the lower leaf.
        label = label.astype(np.float32).astype(np.float64)
        borders = np.quantile(label, np.arange(leaves + 1) / leaves)
        middles = (borders[1:] + borders[:-1]) / 2
        return {
            "edges": torch.from_numpy(borders[1:-1]),
            "middles": torch.from_numpy(middles),
            "std": scalar(float(label.std()) or 1.0),
        }

    def build(self, dim: int, statistics: Mapping[str, Tensor]) -> Tpm:
        """See `WatchTimeConfig.build`."""
        return Tpm(self, dim, statistics)


class Tpm(WatchTimeHead):
    """Node k asks "to the right?" with probability ``sigmoid(w_k . x + b_k)``; a leaf has the product along its path.

    ``L = BCE of the nodes on the label's path + error (guess - y)^2 + spread std``; the guess is the mean of the leaves' middles.
    Nodes are numbered level by level: the children of k are 2k + 1 and 2k + 2.
    """

    edges: Tensor
    middles: Tensor
    std: Tensor

    def __init__(self, config: TpmConfig, dim: int, statistics: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("edges", statistics["edges"])
        for name in ("middles", "std"):
            self.register_buffer(name, statistics[name].float())
        self.out = nn.Linear(dim, 2**config.depth - 1)

    def paths(self, leaf: Int64[Tensor, " rows"]) -> tuple[Int64[Tensor, "rows depth"], Tensor]:
        """Nodes from the root to each leaf, and whether the path goes right there (1.0)."""
        depth = self.config.depth
        shift = torch.arange(depth - 1, -1, -1, device=leaf.device)
        right = (leaf[:, None] >> shift) & 1
        above = leaf[:, None] >> (shift + 1)
        return above + 2 ** torch.arange(depth, device=leaf.device) - 1, right.float()

    def leaf_law(self, nodes: Float[Tensor, "rows nodes"]) -> Float[Tensor, "rows leaves"]:
        """Probability of each leaf, from the logits of the nodes; rows sum to 1."""
        law = torch.ones(len(nodes), 1, dtype=nodes.dtype, device=nodes.device)
        for level in range(self.config.depth):
            right = nodes[:, 2**level - 1 : 2 ** (level + 1) - 1].sigmoid()
            law = torch.stack([law * (1 - right), law * right], 2).flatten(1)
        return law

    def encode(self, label: Float[Tensor, " rows"]) -> Int64[Tensor, " rows"]:
        """The leaf of each label; one on a border is in the lower leaf."""
        return torch.searchsorted(self.edges, label.float().to(self.edges))

    def loss(
        self,
        x: Float[Tensor, "rows dim"],
        label: Float[Tensor, " rows"],
        duration: Float[Tensor, " rows"],
    ) -> Float[Tensor, ""]:
        """See `WatchTimeHead.loss`."""
        del duration
        nodes = self.out(x)
        path, right = self.paths(self.encode(label))
        taken = nodes.gather(1, path)
        questions = binary_cross_entropy_with_logits(taken, right.to(taken), reduction="none").sum(1)
        law, middles = self.leaf_law(nodes), self.middles / self.std
        guess = law @ middles
        variance = law @ middles.square() - guess.square()
        # The root of 0 has no slope.
        spread = variance.clamp(min=1e-12).sqrt()
        error = (guess - label / self.std).square()
        return mean_of_rows(questions + self.config.error * error + self.config.spread * spread)

    def forward(
        self, x: Float[Tensor, "rows dim"], duration: Float[Tensor, " rows"]
    ) -> Float[Tensor, " rows"]:
        """See `WatchTimeHead.forward`."""
        del duration
        return self.leaf_law(self.out(x)) @ self.middles
