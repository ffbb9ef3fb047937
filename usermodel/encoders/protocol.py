"""What every user encoder is: a batch of histories in, one vector per event and one per user out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from usermodel.batch import JaggedBatch
from usermodel.config import Config
from usermodel.encoders.catalogue import Catalogue
from usermodel.errors import ConfigError, MismatchError
from usermodel.nn.item_features import ItemFeatures
from usermodel.nn.item_table import ItemTable, require_known
from usermodel.nn.padded import PaddedBatch
from usermodel.store.sequence_store import SequenceStore
from usermodel.store.sequences import Sequences


@dataclass(frozen=True)
class Encoded:
    """Always both; no mode decides what comes back.

    Attributes:
        events: One vector per event: what is known of the user after it.
        users: One vector per user; zeros for a user without events.
    """

    events: Float[Tensor, "events dim"]
    users: Float[Tensor, "users dim"]


@runtime_checkable
class Encoder(Protocol):
    """Histories -> vectors, in the space in which items are embedded too."""

    n_items: int
    dim: int
    max_history: int
    causal: bool

    def __call__(self, batch: JaggedBatch) -> Encoded:
        """Encode every user on its own: the others in the batch change nothing."""
        ...

    def item_vectors(self, index: Int64[Tensor, " n"] | None = None) -> Float[Tensor, "n dim"]:
        """Vectors of item indices; None means all of 1 to n_items, in order."""
        ...


class EncoderModule(nn.Module):
    """Base of encoders that are torch modules: the protocol's facts, and one item table that embeds and scores (tied).

    Attributes:
        n_depths: How many of them `depths` gives.
        reads_mask: Whether a user's vector is read at a mask token behind the history.
    """

    n_depths: int = 1
    reads_mask: bool = False
    n_items: int
    dim: int
    max_history: int
    causal: bool
    items: ItemTable
    mask_token: nn.Parameter | None

    def item_vectors(self, index: Int64[Tensor, " n"] | None = None) -> Float[Tensor, "n dim"]:
        """See `Encoder.item_vectors`; for encoders whose items have more than ids and features to override."""
        vectors, features = self.items.vectors(index), self.scored_features()
        if features is None:
            return vectors
        out: Tensor = vectors + features(self.items.indices(index))
        return out

    def scored_features(self) -> ItemFeatures | None:
        """What `item_vectors` adds to the vectors of ``items``; None where it adds nothing. For encoders to override."""
        return None

    def item_parts(
        self, index: Int64[Tensor, " n"], *, value_dropout: float = 0.0
    ) -> Float[Tensor, "parts n dim"]:
        """What `item_vectors` adds up: the vector of the id, then that of each of `scored_features` in their order.

        For objectives that look at items of which something is hidden.

        Args:
            index: Items.
            value_dropout: See `ItemFeatures.each`.
        """
        own, features = self.items.vectors(index)[None], self.scored_features()
        return (
            own if features is None else torch.cat([own, features.each(index, value_dropout=value_dropout)])
        )

    def catalogue(self) -> Catalogue:
        """What it was built for; of item features only the shape."""
        return Catalogue(self.n_items)

    def hide(self, x: Float[Tensor, "events dim"], batch: JaggedBatch) -> Float[Tensor, "events dim"]:
        """The mask token in place of vectors of items that the batch hides.

        Raises:
            ConfigError: It hides some, and there is no mask token.
        """
        if batch.masked is None:
            return x
        self.require_mask_token()
        assert self.mask_token is not None
        return torch.where(batch.masked[:, None], self.mask_token.to(x.dtype), x)

    def require_mask_token(self) -> None:
        """Raise `ConfigError` unless there is one; for objectives that hide items."""
        if self.mask_token is None:
            expected, do = "a mask token, because items are hidden", "Set encoder.mask_token=true."
            raise ConfigError("encoder.mask_token", expected=expected, found="false", do=do)

    def forward(self, batch: JaggedBatch) -> Encoded:
        """See `Encoder.__call__`."""
        raise NotImplementedError

    def depths(self, batch: JaggedBatch) -> list[Encoded]:
        """What a pass leaves after 1, 2, ... layers, each read out like the last, which is what `forward` gives.

        For encoders to override whose first layers can be used alone.
        """
        return [self(batch)]

    def padded(self, batch: PaddedBatch) -> Float[Tensor, "users dim"]:
        """User vectors of a rectangle, by a number of operations that does not depend on it; for encoders to be exported.

        Without dropout and gradients. Users without events may have any vector: whoever calls puts it to zero.
        """
        raise NotImplementedError

    def users(self, batch: JaggedBatch) -> Float[Tensor, "users dim"]:
        """``self(batch).users`` to rounding; for encoders that need less than all events for it to override.

        `encode` calls it in evaluation, from several threads at once.
        """
        return self(batch).users

    def events(self, batch: JaggedBatch) -> Float[Tensor, "events dim"]:
        """``self(batch).events``; for encoders that then need no pass for the users to override."""
        return self(batch).events

    def users_of_many(self, n_events: int) -> Callable[[JaggedBatch], Float[Tensor, "users dim"]]:
        """`users` for batches with about ``n_events`` events in all, while weights stay as they are.

        For encoders to override that can prepare something for all of them.
        """
        del n_events
        return self.users

    def __call__(self, batch: JaggedBatch) -> Encoded:
        """Run `forward`; on the CPU an item that the encoder does not know is a `DataError`."""
        require_known(batch.item_index, self.n_items)
        out: Encoded = super().__call__(batch)
        return out


def new_mask_token(wanted: bool, dim: int, std: float) -> nn.Parameter | None:
    """What is read in place of a hidden item, where an encoder is to have that."""
    return nn.Parameter(torch.randn(dim) * std) if wanted else None


class EncoderConfig(Config):
    """Base of encoder configurations.

    Attributes:
        max_history: Events read of a history, the latest ones.
        mask_token: Whether there is a vector to be read in place of a hidden item: for objectives that hide some.
    """

    max_history: int = 50
    mask_token: bool = False

    @property
    def reads_clock(self) -> bool:
        """Whether it must know when events were, not only in which order; stores without times are then refused."""
        return False

    def build(self, n_items: int) -> EncoderModule:
        """A new encoder with random weights for items 1 to ``n_items``; draws from torch's global generator."""
        raise NotImplementedError

    def build_for(self, catalogue: Catalogue) -> EncoderModule:
        """`build` for encoders that must know more of a store than the number of its items."""
        return self.build(catalogue.n_items)

    def build_on(self, store: SequenceStore) -> EncoderModule:
        """`build_for` the catalogue of a store.

        Raises:
            ConfigError: See `catalogue`; or an encoder that does not fit into memory.
            MismatchError: The encoder that was built knows more items, or fewer.
        """
        catalogue = self.catalogue(store)
        try:
            encoder = self.build_for(catalogue)
        except (RuntimeError, MemoryError) as error:
            # PyTorch says so in words only.
            if isinstance(error, RuntimeError) and "memory" not in str(error):
                raise
            found = f"{store.n_items:,} items and {self.to_dict()!s:.80}"
            do = (
                "Lower encoder.dim, or share rows of the item table (encoder.items, see the encoder options)."
            )
            raise ConfigError("encoder", expected="one that fits into memory", found=found, do=do) from None
        if encoder.n_items != store.n_items:
            expected = f"an item table for the {store.n_items:,} items of {store.path}"
            do = f"Let {type(self).__name__} build one for as many items as it is told."
            raise MismatchError("encoder", expected=expected, found=f"one for {encoder.n_items:,}", do=do)
        return encoder

    def catalogue(self, store: SequenceStore) -> Catalogue:
        """What `build_for` must know of a store.

        Raises:
            ConfigError: The store lacks something that this encoder reads; the option is named.
        """
        self.require(store)
        return Catalogue(store.n_items)

    def require(self, store: Sequences) -> None:
        """Raise `ConfigError`, naming the option, unless the events of ``store`` have what this encoder reads."""
