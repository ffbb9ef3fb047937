"""UserEncoder: a saved encoder that turns a store into a table of user vectors."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from usermodel.embedding_table import EmbeddingTable
from usermodel.encoders import io
from usermodel.encoders.encode import BATCH_EVENTS, encode
from usermodel.encoders.protocol import EncoderModule
from usermodel.errors import DataError, MismatchError
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

        Args:
            store: A store, or its path, whose vocabulary the encoder knows.
            users: External ids; None means everyone in the store.
            batch_events: Events per forward pass, about.
            on_progress: Called with (users done, users in all).

        Returns:
            One row per user, in store order or in the order given; ``n_events`` says how many events the user has.

        Raises:
            MismatchError: The store was built from another vocabulary.
            DataError: An id is not in the store.
        """
        store = store if isinstance(store, SequenceStore) else SequenceStore.open(store)
        self.require(store)
        rows = np.arange(store.n_users) if users is None else store.user_rows(self._ids(store, users))
        examples = Examples.histories(store, rows, store.offsets[rows + 1], self.module.max_history)
        vectors = encode(self.module, store, examples, batch_events=batch_events, on_progress=on_progress)
        counts = pl.DataFrame({"n_events": np.diff(store.offsets)[rows]})
        return EmbeddingTable(
            store.users.decode(rows + 1).alias("user_id"), vectors, self.content_hash, counts
        )

    def items(self) -> EmbeddingTable:
        """Item vectors, in the space of the users: their inner product is the score."""
        vectors = self.module.item_vectors().detach().float().cpu().numpy().copy()
        return EmbeddingTable(
            self.vocabulary.ids.alias("item_id"), vectors, self.content_hash, name="item_id"
        )

    def require(self, store: SequenceStore) -> None:
        """Raise `MismatchError` unless the encoder knows every item of the store under the same index."""
        self.vocabulary.require_extended_by(store.vocabulary, "the encoder", str(store.path))
        if len(store.vocabulary) > len(self.vocabulary):
            found = f"{len(store.vocabulary) - len(self.vocabulary):,} items it never saw"
            do = "Pretrain on this store, or embed the store it was trained on."
            raise MismatchError(str(store.path), expected="items the encoder knows", found=found, do=do)

    @staticmethod
    def _ids(store: SequenceStore, users: Iterable[str] | Iterable[int]) -> pl.Series:
        wanted = int if store.users.kind == "int" else str
        values = [users] if isinstance(users, str) else list(users)
        odd = [value for value in values if not isinstance(value, wanted)]
        if odd or isinstance(users, str):
            found = f"{odd[0] if odd else users!r} of type {type(odd[0] if odd else users).__name__}"
            do = "Pass a list, such as users=['u1'], of ids as they are in the store."
            raise DataError("users", expected=f"a list of {wanted.__name__} ids", found=found, do=do)
        return pl.Series("user_id", values, dtype=pl.Int64 if wanted is int else pl.String)
