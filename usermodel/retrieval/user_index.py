"""UserIndex: users like other users, and audiences that look like a few."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float32, Int64, Shaped
from numpy import ndarray

from usermodel import manifest
from usermodel.ann.base import Metric
from usermodel.embedding_files.precision import normalize
from usermodel.embedding_table import EmbeddingTable
from usermodel.errors import DataError, MissingError
from usermodel.retrieval import files
from usermodel.retrieval.filtering import Seen, best
from usermodel.retrieval.item_index import require_k
from usermodel.retrieval.vector_index import Measured, OnProgress, VectorIndex, Wish

#: Facts of an export that an index of its users keeps, so that pseudonyms stay pseudonyms.
_KEPT = ("ids", "key_check", "store_hash")


class UserIndex:
    """Users searchable with user vectors.

    Attributes:
        search: Vectors and FAISS index.
        table: User vectors by id, in the same order.
    """

    def __init__(self, search: VectorIndex, table: EmbeddingTable) -> None:
        self.search, self.table = search, table

    def __len__(self) -> int:
        return len(self.search)

    def __repr__(self) -> str:
        kind = self.search.index.kind
        return f"UserIndex({kind}, {len(self):,} users of width {self.table.dim}, encoder {self.table.encoder_hash[:12]})"

    @property
    def measured(self) -> Measured | None:
        """Recall and speed that tuning found; None for brute force."""
        return self.search.measured

    @staticmethod
    def build(
        table: EmbeddingTable | str | os.PathLike[str],
        *,
        kind: str = "auto",
        metric: Metric = "cosine",
        recall: float = 0.95,
        gpu: bool = False,
        on_progress: OnProgress | None = None,
    ) -> UserIndex:
        """Index users.

        Args:
            table: User vectors, or the path of an export.
            kind: See `ItemIndex.build`.
            metric: ``cosine``, because the length of a user vector says how sure the encoder is and not who is alike; or
                ``inner-product``.
            recall: See `ItemIndex.build`.
            gpu: Search on a GPU.
            on_progress: Called with (users added, users in all).

        Raises:
            DataError: No user, or several vectors a user.
        """
        table = table if isinstance(table, EmbeddingTable) else EmbeddingTable.load(table, "users")
        if table.vectors.ndim != 2 or not len(table):
            found, do = f"vectors of shape {table.vectors.shape}", "Pass a table with one vector a user."
            raise DataError("users", expected="at least one user, one vector each", found=found, do=do)
        search = VectorIndex.build(table.vectors, Wish(kind, metric, recall, gpu), table.vectors, on_progress)
        return UserIndex(search, table)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write a folder that needs nothing else."""
        kept = {name: self.table.meta[name] for name in _KEPT if name in self.table.meta}
        files.save(Path(path), self.search, self.table, "users", overwrite=overwrite, **kept)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> UserIndex:
        """Open an index written by `save`; hashes are checked before FAISS sees the file.

        Raises:
            MissingError: No index of users.
            IntegrityError: A damaged index.
        """
        path = Path(path)
        facts = manifest.read(path, files.KIND, verify=True).meta
        if facts.get("of") != "users":
            do = "Open it with ItemIndex.load."
            raise MissingError(str(path), expected="an index of users", found="one of items", do=do)
        table = files.load_table(path, "users", facts)
        return UserIndex(files.load_index(path / files.FILE, table, facts), table)

    def without(self, ids: Iterable[Any]) -> UserIndex:
        """The same index of the other users; what tuning found stays."""
        gone = pl.Series(list(ids), dtype=self.table.ids.dtype)
        left = self.table.ids.filter(~self.table.ids.is_in(gone.implode()))
        table = self.table.take(left)
        index = self.search.index
        kept = type(index).build(table.vectors, metric=index.spec.metric, seed=index.spec.seed)
        if dict(index.effort).keys() == kept.effort.keys():
            kept.set_effort(index.effort)
        return UserIndex(VectorIndex(kept, table.vectors, self.search.measured), table)

    def similar(self, users: Iterable[Any], k: int = 10) -> pl.DataFrame:
        """The ``k`` users most like each of these, without the user itself.

        Args:
            users: Ids of users of the index.
            k: Neighbours a user.

        Returns:
            Columns ``user_id rank neighbour_id score``, ranks from 1, most alike first.

        Raises:
            MissingError: An id that the index does not have.
            DataError: ``k`` is below 1.
        """
        require_k(k)
        asked = self.table.take(users)
        own = self._rows(asked.ids)
        seen = Seen(np.arange(len(asked) + 1), own)
        found = best(self.search, asked.vectors, k, seen=seen)
        return pl.DataFrame(
            {
                "user_id": asked.ids.gather(found.owner),
                "rank": found.rank.astype(np.int32),
                "neighbour_id": self.table.ids.gather(found.position),
                "score": found.score,
            }
        )

    def expand(self, seeds: Iterable[Any], k: int = 1000) -> pl.DataFrame:
        """A look-alike audience: the ``k`` users nearest to the mean of the seeds, the seeds left out.

        For ``cosine`` the mean is of vectors of length 1, so that every seed counts alike.

        Args:
            seeds: Ids of users of the index, at least one.
            k: Size of the audience.

        Returns:
            Columns ``rank user_id score``, most alike first.

        Raises:
            MissingError: A seed that the index does not have.
            DataError: No seed.
        """
        require_k(k)
        chosen = self.table.take(dict.fromkeys(seeds))
        if not len(chosen):
            raise DataError("seeds", expected="at least one user", found="none", do="Name some users.")
        found = best(
            self.search,
            self._mean(chosen.vectors),
            k,
            seen=Seen(np.array([0, len(chosen)]), self._rows(chosen.ids)),
        )
        return pl.DataFrame(
            {
                "rank": found.rank.astype(np.int32),
                "user_id": self.table.ids.gather(found.position),
                "score": found.score,
            }
        )

    def _mean(self, vectors: Shaped[ndarray, "n dim"]) -> Float32[ndarray, "1 dim"]:
        wide = normalize(vectors) if self.search.index.spec.metric == "cosine" else vectors.astype(np.float32)
        mean: ndarray = wide.mean(axis=0, keepdims=True)
        return mean

    def _rows(self, ids: pl.Series) -> Int64[ndarray, " n"]:
        return np.fromiter((self.table.row(key) for key in ids), dtype=np.int64)
