"""ItemIndex: the best items for a user vector, seen ones left out, exactly."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy import ndarray

from usermodel import manifest
from usermodel.ann.flat import FlatIndex
from usermodel.embedding_table import EmbeddingTable
from usermodel.embeddings.files import KIND as EMBEDDINGS
from usermodel.embeddings.files import load_table
from usermodel.embeddings.user_encoder import UserEncoder
from usermodel.errors import DataError, MismatchError, MissingError
from usermodel.events.parquet import read_parquet, write_parquet
from usermodel.events.vocabulary import Vocabulary
from usermodel.store.sequence_store import SequenceStore

KIND: Final = "index"


class ItemIndex:
    """Items searchable by inner product with user vectors.

    Attributes:
        index: FAISS positions 0 to n-1; position p is item index p + 1 of the encoder.
        vocabulary: Item ids in that order.
        encoder_hash: The encoder whose vectors these are; users of another one are refused.
        source: Run or embeddings folder the vectors came from.
    """

    def __init__(self, index: FlatIndex, vocabulary: Vocabulary, encoder_hash: str, source: Path) -> None:
        self.index, self.vocabulary, self.encoder_hash, self.source = index, vocabulary, encoder_hash, source

    def __len__(self) -> int:
        return len(self.index)

    def __repr__(self) -> str:
        return f"ItemIndex(flat, {len(self):,} items of width {self.index.dim}, encoder {self.encoder_hash[:12]})"

    @staticmethod
    def build(source: str | os.PathLike[str], *, allow_modules: Sequence[str] = ()) -> ItemIndex:
        """Index the items of a run, an encoder folder, or a folder made by ``usermodel embed``.

        Args:
            source: The folder.
            allow_modules: Modules outside usermodel whose classes the saved encoder may name.
        """
        path = Path(source)
        table = _items_of(path, allow_modules)
        return ItemIndex(
            FlatIndex.build(table.to_numpy()), Vocabulary(table.ids.alias("id")), table.encoder_hash, path
        )

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the index.

        Args:
            path: ``NAME.faiss`` (any suffix) is the FAISS file alone, which finds its ids in ``source``; a folder also
                holds ids and vectors and needs nothing else.
            overwrite: Replace an older one.
        """
        path = Path(path)
        facts = {
            "n_items": len(self),
            "dim": self.index.dim,
            "type": "flat",
            "encoder_hash": self.encoder_hash,
        }
        facts["vocabulary_hash"] = self.vocabulary.hash
        if path.suffix:
            with manifest.write_file(path, KIND, overwrite=overwrite) as draft:
                self.index.save(draft.path)
                draft.meta.update(facts, source=os.path.relpath(self.source.resolve(), path.parent.resolve()))
            return
        with manifest.write_directory(path, KIND, overwrite=overwrite) as draft:
            self.index.save(draft.path / "index.faiss")
            vectors = pl.Series("embedding", self.index.vectors(), dtype=pl.Array(pl.Float32, self.index.dim))
            write_parquet(
                pl.DataFrame([self.vocabulary.ids.alias("item_id"), vectors]), draft.path / "items.parquet"
            )
            draft.meta.update(facts)

    @staticmethod
    def load(path: str | Path, *, allow_modules: Sequence[str] = ()) -> ItemIndex:
        """Open an index written by `save`; hashes are checked before FAISS sees the file.

        Args:
            path: The file or the folder.
            allow_modules: As in `build`; needed for a file only, which reads its ids from the run.

        Raises:
            MissingError: No index, or the run it points to is gone.
            IntegrityError: A damaged index.
            MismatchError: The run it points to has changed.
        """
        path = Path(path)
        facts = manifest.read(path, KIND, verify=True).meta
        if path.is_dir():
            source, index = path, FlatIndex.load(path / "index.faiss")
            vocabulary = Vocabulary(read_parquet(path / "items.parquet", ["item_id"])["item_id"].alias("id"))
        else:
            source, index = path.parent / facts["source"], FlatIndex.load(path)
            if not source.exists():
                do = "Build the index again from its run, or as a folder, which needs no run."
                raise MissingError(str(path), expected=f"its run at {source}", found="nothing there", do=do)
            vocabulary = Vocabulary(_items_of(source, allow_modules).ids.alias("id"))
        if vocabulary.hash != facts["vocabulary_hash"] or len(index) != len(vocabulary):
            do = "Build the index again."
            raise MismatchError(
                str(path), expected="the items it was built from", found=f"{len(vocabulary):,} others", do=do
            )
        return ItemIndex(index, vocabulary, facts["encoder_hash"], source)

    def recommend(
        self,
        users: EmbeddingTable,
        k: int = 10,
        *,
        exclude_seen: SequenceStore | str | os.PathLike[str] | None = None,
    ) -> pl.DataFrame:
        """The ``k`` best items of each user.

        Args:
            users: User vectors of the same encoder.
            k: Items a user; fewer only when nothing else is left.
            exclude_seen: A store whose events of a user are left out of the user's list; it may have grown since.

        Returns:
            Columns ``user_id rank item_id score``, ranks from 1, best first.

        Raises:
            MismatchError: Users of another encoder.
            DataError: ``k`` is below 1.
        """
        if not isinstance(k, int) or k < 1:
            raise DataError(
                "k", expected="a whole number, at least 1", found=repr(k), do="Ask for some items."
            )
        if users.encoder_hash != self.encoder_hash:
            found = f"users of encoder {users.encoder_hash[:12]}"
            raise MismatchError(
                "recommend",
                expected=f"users of encoder {self.encoder_hash[:12]}",
                found=found,
                do="Build both from one run.",
            )
        seen = self._seen(users, exclude_seen)
        # Asking for k plus all that may be dropped is exact: at least k unseen items are among them.
        most = int(np.diff(seen[0]).max()) if len(users) else 0
        scores, positions = self.index.search(np.asarray(users.vectors), k + most)
        owner = np.repeat(np.arange(len(users)), np.diff(seen[0]))
        n = len(self)
        keep = ~np.isin(np.arange(len(users))[:, None] * n + positions, owner * n + seen[1])
        rank = np.cumsum(keep, axis=1)
        row, column = np.nonzero(keep & (rank <= k))
        return pl.DataFrame(
            {
                users.name: users.ids.gather(row),
                "rank": rank[row, column].astype(np.int32),
                "item_id": self.vocabulary.ids.gather(positions[row, column]),
                "score": scores[row, column],
            }
        )

    def _seen(
        self, users: EmbeddingTable, store: SequenceStore | str | os.PathLike[str] | None
    ) -> tuple[ndarray, ndarray]:
        """Positions each user has seen, as (offsets, positions); items that came after the index have none."""
        if store is None:
            return np.zeros(len(users) + 1, dtype=np.int64), np.zeros(0, dtype=np.int64)
        store = store if isinstance(store, SequenceStore) else SequenceStore.open(store)
        self.vocabulary.require_extended_by(store.vocabulary, "the index", str(store.path))
        rows = store.user_rows(users.ids)
        lengths = np.diff(store.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        index = np.repeat(store.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        positions = store.items[index].astype(np.int64) - 1
        known = positions < len(self)
        return np.concatenate([[0], np.cumsum(known)])[offsets], positions[known]


def _items_of(path: Path, allow_modules: Sequence[str]) -> EmbeddingTable:
    if manifest.read(path).kind == EMBEDDINGS:
        return load_table(path, "items")
    return UserEncoder.load(path, allow_modules=allow_modules).items()
