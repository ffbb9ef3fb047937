"""In-batch negatives: the positives of a batch are each other's negatives, whose vectors are needed anyway."""

from __future__ import annotations

import math
from typing import Final, Literal

import numpy as np
import torch
from jaxtyping import Float64, Int64
from numpy import ndarray
from pydantic import Field, model_validator
from torch import Tensor

from usermodel.events.splits import Split
from usermodel.negatives.protocol import DrawContext, KnownLaw, Negatives, NegativesConfig
from usermodel.negatives.streaming import GapFrequencies
from usermodel.store.sequence_store import SequenceStore

#: Of the streaming estimate: about as many of the latest gaps as its inverse count.
LEARNING_RATE: Final = 0.05


class InBatchConfig(NegativesConfig):
    """The targets of the batch, for all its events.

    Attributes:
        frequencies: How the probability of an item is known: ``counts`` of the training part, or ``streaming``, estimated
            from the targets as they come, for data whose law changes or differs from the counts.
        learning_rate: Weight of the latest gap in the streaming estimate, 0 to 1; None means 0.05.
    """

    frequencies: Literal["counts", "streaming"] = "counts"
    learning_rate: float | None = Field(default=None, gt=0, le=1)

    @model_validator(mode="after")
    def _no_option_without_effect(self) -> InBatchConfig:
        if self.frequencies == "counts" and self.learning_rate is not None:
            raise ValueError("learning_rate only with frequencies=streaming, got frequencies=counts")
        return self

    @property
    def counts_targets(self) -> bool:
        """See `NegativesConfig`."""
        return self.frequencies == "counts"

    def build(self, store: SequenceStore, split: Split) -> InBatch:
        """Count the training part, or begin to estimate."""
        if self.frequencies == "streaming":
            rate = self.learning_rate or LEARNING_RATE
            return InBatch(streaming=GapFrequencies(store.n_items, rate))
        return InBatch(store.item_counts(split.train_stop)[1:].astype(np.float64))


class InBatch(KnownLaw):
    """The batch's own targets, or ``n`` of them without replacement; ``q(item) = count / sum of counts``.

    Of each event all targets are negatives but its own, which losses mask. ``q`` is that of a target in batches as training
    makes them: targets of one user stand in one batch, so that they are not quite independent draws. Next-item training never
    has a user's first event as a target, which the counts include; the streaming estimate sees targets alone.

    Source: GRU4Rec (Hidasi et al. 2016) for the negatives; Yi et al. 2019 for their correction. The
    target itself is not corrected, as Khrylchenko et al. 2025 ask: see `usermodel.losses.sampled`.

    Args:
        counts: Training events of each item; entry 0 is item 1.
        streaming: An estimate instead of counts.
    """

    from_batch = True
    log_q: Tensor

    def __init__(
        self, counts: Float64[ndarray, " items"] | None = None, *, streaming: GapFrequencies | None = None
    ) -> None:
        super().__init__()
        assert (counts is None) != (streaming is None), "either counts or an estimate"
        self.streaming = streaming
        self.least = -math.inf
        if counts is not None:
            # Entry 0 is padding. What has no training event is no target of training.
            with np.errstate(divide="ignore"):
                log_q = np.log(np.concatenate([[0.0], counts]) / max(counts.sum(), 1))
            self.least = -math.log(max(counts.sum(), 1))
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
        """See `NegativeSampler.sample`; shared, and no more draws than there are positives."""
        if self.streaming is not None and self.training:
            self.streaming.update(positives)
        ids = positives
        if n < len(positives):
            ids = ids[torch.randperm(len(ids), generator=generator, device=ids.device)[:n]]
        if not log_q:
            return Negatives(ids, None)
        # A target that the training part lacks counts as one event: no loss is infinite.
        return Negatives(ids, self.log_q_of(ids, positives, context).clamp_min(self.least))

    def log_q_of(
        self, ids: Int64[Tensor, "*rows n"], positives: Int64[Tensor, " events"], context: DrawContext
    ) -> Tensor:
        """See `KnownLaw.log_q_of`; -inf for an item without a training event."""
        del positives, context
        return self.log_q[ids] if self.streaming is None else self.streaming.log_frequency(ids)
