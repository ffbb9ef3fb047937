"""Uniform negatives: every item is as likely as any other."""

from __future__ import annotations

import math

import torch
from jaxtyping import Int64
from torch import Tensor

from usermodel.events.splits import Split
from usermodel.negatives.protocol import DrawContext, KnownLaw, Negatives, NegativesConfig
from usermodel.store.sequence_store import SequenceStore


class UniformConfig(NegativesConfig):
    """Items with equal probability.

    Attributes:
        shared: One set for all events of a batch, whose scores are a single matrix product; ``False`` draws anew for each
            event, which costs a gather of as many vectors.
    """

    shared: bool = True

    def build(self, store: SequenceStore, split: Split) -> Uniform:
        """A sampler of 1 to ``store.n_items``."""
        del split
        return Uniform(store.n_items, shared=self.shared)


class Uniform(KnownLaw):
    """``q(item) = 1 / n_items``."""

    def __init__(self, n_items: int, *, shared: bool = True) -> None:
        super().__init__()
        self.n_items, self.shared = n_items, shared

    def sample(
        self,
        positives: Int64[Tensor, " events"],
        context: DrawContext,
        *,
        n: int,
        generator: torch.Generator | None = None,
        log_q: bool = True,
    ) -> Negatives:
        """See `NegativeSampler.sample`."""
        del log_q
        shape = (n,) if self.shared else (len(positives), n)
        ids = torch.randint(1, self.n_items + 1, shape, generator=generator, device=positives.device)
        return Negatives(ids, self.log_q_of(ids, positives, context))

    def log_q_of(
        self, ids: Int64[Tensor, "*rows n"], positives: Int64[Tensor, " events"], context: DrawContext
    ) -> Tensor:
        """See `KnownLaw.log_q_of`."""
        del positives, context
        # One number, seen as many: at a million draws, filling a table would cost as much as drawing.
        return torch.full((), -math.log(self.n_items), device=ids.device).expand(ids.shape)
