"""What every sampler of negatives is: targets in, other items out, with the probability of drawing them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from usermodel.config import Config
from usermodel.events.splits import Split
from usermodel.store.sequence_store import SequenceStore

if TYPE_CHECKING:
    from usermodel.encoders.protocol import EncoderModule


@dataclass(frozen=True)
class Negatives:
    """Drawn items; either the same for every event, ``[n]``, or its own for each, ``[events, n]``.

    A draw may hit the event's own target, and the same item may be drawn twice: both belong to the distribution that
    ``log_q`` describes, and losses deal with them.

    Attributes:
        ids: Item indices, 1 to n_items, int64.
        log_q: Log of the true probability that one draw gives this item; same shape.
        weight: How much each draw counts, same shape; None means 1.
    """

    ids: Tensor
    log_q: Tensor
    weight: Tensor | None = None

    def __post_init__(self) -> None:
        assert self.ids.dim() in {1, 2}, "ids are [n] or [events, n]"
        assert self.ids.dtype == torch.int64, "ids are int64"
        assert self.log_q.shape == self.ids.shape, "log_q has another shape than ids"
        assert self.weight is None or self.weight.shape == self.ids.shape, "weight has another shape than ids"

    @property
    def is_shared(self) -> bool:
        """Whether all events have the same negatives."""
        return self.ids.dim() == 1


class NegativeSampler(nn.Module, ABC):
    """Draws negatives.

    A module, so that tables of a sampler are buffers: they follow the encoder to its device and are part of checkpoints.
    """

    @abstractmethod
    def sample(
        self, positives: Tensor, context: Tensor, *, n: int, generator: torch.Generator | None = None
    ) -> Negatives:
        """Draw ``n`` independent negatives, with replacement, on the device of ``positives``.

        Args:
            positives: Target of each event, 1 to n_items, int64 ``[events]``.
            context: What the encoder knows at each event, detached, ``[events, dim]``.
            n: Draws per event, or for all of them together.
            generator: Equal states give equal draws; None means torch's own, which the loop seeds for each step.
        """

    def refresh(self, encoder: EncoderModule, store: SequenceStore) -> None:
        """Called before each epoch, for samplers that follow the encoder; others do nothing.

        What it computes must be kept in buffers, so that a resumed epoch goes on with the same.
        """
        del encoder, store


class NegativesConfig(Config):
    """Base of configurations of negative samplers."""

    def build(self, store: SequenceStore, split: Split) -> NegativeSampler:
        """A sampler of the items of a store; only the training part of the split may be counted."""
        raise NotImplementedError
