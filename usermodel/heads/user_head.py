"""A head on user vectors: two linear layers that score answers."""

from __future__ import annotations

from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import relu

from usermodel.errors import NumericError

_STD: Final = 0.02


class UserHead(nn.Module):
    """``z = W_2 relu(W_1 u + b_1) + b_2``, or ``W_2 u + b_2`` with ``hidden=0``; weights from N(0, 0.02), biases 0.

    That of AdaptSSR's fine-tuning (Yu et al. 2023, released code), where ``hidden`` is the width of the vectors.

    Attributes:
        answers: What each score is for.
    """

    def __init__(self, dim: int, hidden: int, answers: tuple[str, ...]) -> None:
        super().__init__()
        self.answers = answers
        self.inner = nn.Linear(dim, hidden) if hidden else None
        self.out = nn.Linear(hidden or dim, len(answers))
        for layer in (self.inner, self.out):
            if layer is not None:
                nn.init.normal_(layer.weight, std=_STD)
                nn.init.zeros_(layer.bias)

    def forward(self, users: Float[Tensor, "users dim"]) -> Float[Tensor, "users answers"]:
        """Scores of all answers."""
        x = users if self.inner is None else relu(self.inner(users))
        scores: Tensor = self.out(x)
        return scores

    @torch.no_grad()
    def scores(self, users: Float[Tensor, "users dim"]) -> Float[Tensor, "users answers"]:
        """`forward` without gradients, wherever the vectors are; on the processor.

        Raises:
            NumericError: A score is not finite.
        """
        scores: Tensor = self(users.to(self.out.weight.device)).float().cpu()
        if not bool(scores.isfinite().all()):
            # NaN is neither above nor level with anything, and would rank a choice first.
            do = "Lower training.learning_rate."
            raise NumericError("scores of the head", expected="finite numbers", found="others", do=do)
        return scores
