"""What every sampler of negatives is: targets in, other items out, with the probability of drawing them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from usermodel.config import Config
from usermodel.errors import ConfigError
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
        log_q: Log of the true probability that one draw gives this item, same shape; None where the sampler was told that
            nobody asks and would have had to work for it.
        weight: How much each draw counts, same shape; None means 1.
    """

    ids: Tensor
    log_q: Tensor | None
    weight: Tensor | None = None

    def __post_init__(self) -> None:
        assert self.ids.dim() in {1, 2}, "ids are [n] or [events, n]"
        assert self.ids.dtype == torch.int64, "ids are int64"
        assert self.log_q is None or self.log_q.shape == self.ids.shape, "log_q has another shape than ids"
        assert self.weight is None or self.weight.shape == self.ids.shape, "weight has another shape than ids"

    @property
    def is_shared(self) -> bool:
        """Whether all events have the same negatives."""
        return self.ids.dim() == 1


@dataclass(frozen=True)
class DrawContext:
    """What is known where negatives are drawn; no gradient goes through it.

    Attributes:
        vectors: What the encoder knows at each event.
        items: Vectors of item indices, as they are now; None as the argument means all of 1 to n_items. For samplers that
            look at scores.
        user: Number of the user each event belongs to, in the store that trains. For samplers that look at users; None
            where nobody knows.
    """

    vectors: Float[Tensor, "events dim"]
    items: Callable[[Int64[Tensor, " n"] | None], Float[Tensor, "n dim"]] | None = None
    user: Int64[Tensor, " events"] | None = None

    @staticmethod
    def of(
        encoder: EncoderModule, vectors: Float[Tensor, "events dim"], user: Int64[Tensor, " events"] | None
    ) -> DrawContext:
        """What an encoder knows at events whose vectors and users are given."""

        def items(index: Tensor | None) -> Tensor:
            with torch.no_grad():
                return encoder.item_vectors(index).detach()

        return DrawContext(vectors.detach(), items, user)

    def item_vectors(self, index: Int64[Tensor, " n"] | None = None) -> Float[Tensor, "n dim"]:
        """Vectors of items, 1 to n_items; None means all.

        Raises:
            ConfigError: Whoever draws has no item vectors.
        """
        if self.items is None:
            raise _missing("the vectors of items", "DrawContext.items")
        return self.items(index)

    def users(self) -> Int64[Tensor, " events"]:
        """The user of each event.

        Raises:
            ConfigError: Whoever draws does not know.
        """
        if self.user is None:
            raise _missing("the user of each event", "DrawContext.user")
        return self.user


def _missing(what: str, field: str) -> ConfigError:
    do = f"Hand over {field}, or choose a sampler that does without."
    return ConfigError("negatives", expected=what, found="none", do=do)


class NegativeSampler(nn.Module, ABC):
    """Draws negatives.

    A module, so that tables of a sampler are buffers: they follow the encoder to its device. What training changes is part
    of checkpoints; what store and split decide need not be (``persistent=False``).

    Attributes:
        from_batch: Whether it draws from the positives themselves: then ``log_q`` is the probability over batches as
            training makes them, not over draws from one batch, and there may be fewer draws than were asked for.
    """

    from_batch: bool = False

    @property
    def follows(self) -> bool:
        """Whether `refresh` does anything: whoever trains must then call it before each epoch."""
        return type(self).refresh is not NegativeSampler.refresh

    @abstractmethod
    def sample(
        self,
        positives: Int64[Tensor, " events"],
        context: DrawContext,
        *,
        n: int,
        generator: torch.Generator | None = None,
        log_q: bool = True,
    ) -> Negatives:
        """Draw ``n`` independent negatives, with replacement, on the device of ``positives``.

        Args:
            positives: Target of each event, 1 to n_items, int64.
            context: What else is known of the events.
            n: Draws per event, or for all of them together.
            generator: Equal states give equal draws; None means torch's own, which the loop seeds for each step.
            log_q: Whether anybody looks at the probabilities; a sampler for which they are work may leave them out if not.
        """

    def refresh(self, encoder: EncoderModule, store: SequenceStore) -> None:
        """Called before each epoch, for samplers that follow the encoder; others do nothing.

        What it computes must be kept in buffers, so that a resumed epoch goes on with the same.
        """
        del encoder, store


class KnownLaw(NegativeSampler):
    """A sampler that can say of any item how likely it is to draw it, which is what a mixture asks."""

    @abstractmethod
    def log_q_of(
        self, ids: Int64[Tensor, "*rows n"], positives: Int64[Tensor, " events"], context: DrawContext
    ) -> Float[Tensor, "*rows n"]:
        """Log of the probability that one draw gives each of some items; -inf for what is never drawn.

        Args:
            ids: Items, ``[n]`` where the law is the same for all events, else ``[events, n]``.
            positives: As in `sample`.
            context: As in `sample`.
        """


class NegativesConfig(Config):
    """Base of configurations of negative samplers."""

    @property
    def counts_targets(self) -> bool:
        """Whether probabilities are right only where items are targets as often as they have training events."""
        return False

    def build(self, store: SequenceStore, split: Split) -> NegativeSampler:
        """A sampler of the items of a store; only the training part of the split may be counted."""
        raise NotImplementedError
