"""UserEncoder: a saved encoder that turns a store into a table of user vectors."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import torch

from usermodel.embedding_table import EmbeddingTable
from usermodel.encoders import io
from usermodel.encoders.encode import BATCH_EVENTS, encode
from usermodel.encoders.protocol import EncoderModule
from usermodel.events.vocabulary import Vocabulary
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore


class UserEncoder:
    """An encoder, the items it knows, and the hash that ties its vectors to it.

    Attributes:
        module: The network.
        vocabulary: Item ids in the order of its item table.
        content_hash: Identity of the saved encoder; every table it makes carries it.
    """

    def __init__(self, saved: io.SavedEncoder) -> None:
        self.module: EncoderModule = saved.module
        self.config = saved.config
        self.vocabulary: Vocabulary = saved.vocabulary
        self.content_hash = saved.content_hash

    @staticmethod
    def load(
        path: str | os.PathLike[str], *, device: str = "cpu", allow_modules: Sequence[str] = ()
    ) -> UserEncoder:
        """Load a run or its ``encoder/`` folder; no training data is needed.

        Args:
            path: Folder.
            device: Where to compute.
            allow_modules: Modules outside usermodel whose classes the saved configuration may name.
        """
        return UserEncoder(io.load(Path(path), device=device, allow_modules=allow_modules))

    def encode(
        self,
        store: SequenceStore | str | os.PathLike[str],
        *,
        users: Iterable[str] | Iterable[int] | None = None,
        batch_events: int = BATCH_EVENTS,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> EmbeddingTable:
        """Encode users from all their events, held-out ones included.

        The store may have grown since the encoder was trained. Events of items that came later are skipped: the encoder
        reads the latest ``max_history`` events that it knows.

        Args:
            store: A store, or its path, whose vocabulary starts with the encoder's.
            users: External ids; None means everyone in the store.
            batch_events: Events per forward pass, about.
            on_progress: Called with (users done, users in all).

        Returns:
            One row per user, in store order or in the order given; ``n_events`` says how many events the user has, and
            ``n_unknown`` how many of them are of unknown items. Where both are equal the vector is zeros.

        Raises:
            MismatchError: The store has another vocabulary: an older one, or one that begins otherwise.
            DataError: An id is not in the store.
        """
        store = store if isinstance(store, SequenceStore) else SequenceStore.open(store)
        self.require(store)
        rows = np.arange(store.n_users) if users is None else store.user_rows(store.users.ids_of(users))
        first, stop, n_items = store.offsets[rows], store.offsets[rows + 1], self.module.n_items
        examples = Examples.histories(store, rows, stop, self.module.max_history, n_items)
        vectors = encode(self.module, store, examples, batch_events=batch_events, on_progress=on_progress)
        unknown = store.unknown(n_items).within(first, stop)
        counts = pl.DataFrame({"n_events": stop - first, "n_unknown": unknown})
        return EmbeddingTable(
            store.users.decode(rows + 1).alias("user_id"), vectors, self.content_hash, counts
        )

    def items(self) -> EmbeddingTable:
        """Item vectors, in the space of the users: their inner product is the score."""
        with torch.no_grad():
            vectors = self.module.item_vectors().float().cpu().numpy().copy()
        return EmbeddingTable(
            self.vocabulary.ids.alias("item_id"), vectors, self.content_hash, name="item_id"
        )

    def require(self, store: SequenceStore) -> None:
        """Check that a store belongs to the encoder.

        Raises:
            MismatchError: An item, or an event type that the encoder reads, has another code; more of both may follow.
            ConfigError: The store lacks a column that the encoder reads.
        """
        self.vocabulary.require_extended_by(store.vocabulary, "the encoder", str(store.path))
        self.config.require(store)
        self.module.catalogue().require_event_types(store)

    def n_unknown_items(self, store: SequenceStore) -> int:
        """Items that the store has gained since the encoder was trained."""
        return max(0, store.n_items - len(self.vocabulary))
