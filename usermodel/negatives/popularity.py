"""Negatives by popularity: frequent items more often, as a power of their counts."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float64, Int64
from numpy import ndarray
from pydantic import Field
from torch import Tensor

from usermodel.events.splits import Split
from usermodel.negatives.alias import AliasTable, look_up
from usermodel.negatives.protocol import DrawContext, KnownLaw, Negatives, NegativesConfig
from usermodel.store.sequence_store import SequenceStore


class PopularityConfig(NegativesConfig):
    """Items by their training events.

    Attributes:
        alpha: Power of the counts: 1 draws as items occur, 0 all alike. The default is that of word2vec (Mikolov et al. 2013).
        shared: One set for all events of a batch; ``False`` draws anew for each event. See `UniformConfig`.
    """

    alpha: float = Field(default=0.75, ge=0)
    shared: bool = True

    def build(self, store: SequenceStore, split: Split) -> Popularity:
        """Count the training part."""
        counts = store.item_counts(split.train_stop)[1:].astype(np.float64)
        return Popularity(counts, alpha=self.alpha, shared=self.shared)


class Popularity(KnownLaw):
    """``q(item) = max(count, 1)^alpha / sum over items of max(count, 1)^alpha``.

    An item without a training event counts as one event's, so that every item can be drawn and the estimate of the catalogue's
    sum has no blind spot. Draws are within 2^-32 of ``q``, see `AliasTable`.

    Args:
        counts: Training events of each item; entry 0 is item 1.
        alpha: Power.
        shared: Whether all events have the same negatives.
    """

    log_q: Tensor

    def __init__(
        self, counts: Float64[ndarray, " items"], *, alpha: float = 0.75, shared: bool = True
    ) -> None:
        super().__init__()
        self.shared = shared
        weight = np.maximum(counts, 1.0) ** alpha
        self.table = AliasTable(weight)
        # Entry 0 is padding, which is never drawn.
        log_q = np.concatenate([[-np.inf], np.log(weight / weight.sum())])
        self.register_buffer("log_q", torch.from_numpy(log_q).float(), persistent=False)

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
        del context
        shape = (n,) if self.shared else (len(positives), n)
        return Negatives(*self.table.draw(shape, generator, self.log_q if log_q else None))

    def log_q_of(
        self, ids: Int64[Tensor, "*rows n"], positives: Int64[Tensor, " events"], context: DrawContext
    ) -> Tensor:
        """See `KnownLaw.log_q_of`."""
        del positives, context
        return look_up(self.log_q, ids)
