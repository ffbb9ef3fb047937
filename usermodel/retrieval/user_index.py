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

from usermodel.ann.base import Metric
from usermodel.embedding_files.precision import normalize
from usermodel.embedding_table import EmbeddingTable
from usermodel.errors import DataError, IntegrityError
from usermodel.retrieval import files
from usermodel.retrieval.filtering import Best, best
from usermodel.retrieval.item_index import require_k
from usermodel.retrieval.rebuilding import KEPT, tell_and_write
from usermodel.retrieval.seen import Listed
from usermodel.retrieval.tuning import Measured
from usermodel.retrieval.vector_index import OnProgress, VectorIndex, Wish

#: Facts of an export that an index of its users keeps, so that pseudonyms stay pseudonyms.
_KEPT = ("ids", "key_check", "store_hash")


class UserIndex:
    """Users searchable with user vectors. Where users have several, the pair that is nearest says how alike two users are.

    Attributes:
        search: Vectors and FAISS index; the vectors of a user follow each other.
        table: User vectors by id, in the same order.
        interests: Vectors a user.
    """

    def __init__(self, search: VectorIndex, table: EmbeddingTable) -> None:
        self.search, self.table = search, table
        self.interests = table.vectors.shape[1] if table.vectors.ndim == 3 else 1

    def __len__(self) -> int:
        return len(self.table)

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
            table: User vectors, one or several a user, or the path of an export.
            kind: See `ItemIndex.build`.
            metric: ``cosine``, because the length of a user vector says how sure the encoder is and not who is alike; or
                ``inner-product``.
            recall: See `ItemIndex.build`.
            gpu: Search on a GPU.
            on_progress: Called with (users added, users in all).

        Raises:
            DataError: No user, or vectors without a number.
        """
        table = table if isinstance(table, EmbeddingTable) else EmbeddingTable.load(table, "users")
        if not table.vectors.size:
            found, do = f"vectors of shape {table.vectors.shape}", "Pass a table of users."
            raise DataError("users", expected="at least one user with a vector", found=found, do=do)
        rows = table.vectors.reshape(-1, table.dim)
        search = VectorIndex.build(rows, Wish(kind, metric, recall, gpu), table.vectors, on_progress)
        return UserIndex(search, table)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write a folder that needs nothing else."""
        kept = {name: self.table.meta[name] for name in _KEPT if name in self.table.meta}
        files.save(Path(path), self.search, self.table, "users", overwrite=overwrite, **kept)

    @staticmethod
    def load(path: str | os.PathLike[str], *, rebuild: bool = False, gpu: bool = False) -> UserIndex:
        """Open an index written by `save`; hashes are checked before FAISS sees the file.

        Args:
            path: The folder.
            rebuild: Build an index again whose FAISS file is damaged, with the effort that it had; a warning says what was
                wrong, and the new one is written in place of the old.
            gpu: Search on a GPU.

        Raises:
            MissingError: No index of users.
            IntegrityError: A damaged index; with ``rebuild``, one whose manifest, vectors or ids are damaged.
            ConfigError: No GPU, or a kind that FAISS does not have for one.
        """
        path = Path(path)
        try:
            found = UserIndex._open(path)
        except IntegrityError as error:
            if not rebuild:
                raise
            found = UserIndex._again(path, error)
        if gpu:
            found.search.index.to_gpu()
        return found

    @staticmethod
    def _open(path: Path) -> UserIndex:
        facts = files.read_facts(path, "users")
        table = files.load_table(path, "users", facts)
        return UserIndex(files.Plan.of(path, facts).load(path / files.FILE, table), table)

    @staticmethod
    def _again(path: Path, cause: IntegrityError) -> UserIndex:
        """The index built again from vectors that are whole, and written back."""
        facts = files.read_facts(path, "users", damaged=True)
        table = files.load_table(path, "users", facts)
        built = UserIndex(files.Plan.of(path, facts).make(table), table)
        tell_and_write(path, cause, built.search, KEPT, lambda: built.save(path, overwrite=True))
        return built

    def without(self, ids: Iterable[Any]) -> UserIndex:
        """The same index of the other users; what tuning found stays."""
        gone = pl.Series(list(ids), dtype=self.table.ids.dtype)
        left = self.table.ids.filter(~self.table.ids.is_in(gone.implode()))
        table, index = self.table.take(left), self.search.index
        rows = table.vectors.reshape(-1, table.dim)
        search = VectorIndex.again(type(index), index.spec, index.effort, rows, self.search.measured)
        return UserIndex(search, table)

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
        rows = self._rows(asked.ids)
        found = self._best(asked.vectors, k, Listed(np.arange(len(asked) + 1) * self.interests, rows))
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

        For ``cosine`` the mean is of vectors of length 1, so that every seed counts alike. Of seeds with several vectors all of
        them are in the mean; a user counts by the one that is nearest to it.

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
        rows = self._rows(chosen.ids)
        mean = self._mean(chosen.vectors.reshape(-1, chosen.dim))
        found = self._best(mean, k, Listed(np.array([0, len(rows)]), rows))
        return pl.DataFrame(
            {
                "rank": found.rank.astype(np.int32),
                "user_id": self.table.ids.gather(found.position),
                "score": found.score,
            }
        )

    def _best(self, queries: Shaped[ndarray, "m ..."], k: int, seen: Listed) -> Best:
        """The ``k`` best users: among so many times as many vectors as a user has there are ``k`` users at least."""
        found = best(self.search, queries, k * self.interests, seen=seen)
        return found if self.interests == 1 else found.grouped(self.interests, k)

    def _mean(self, vectors: Shaped[ndarray, "n dim"]) -> Float32[ndarray, "1 dim"]:
        wide = normalize(vectors) if self.search.index.spec.metric == "cosine" else vectors.astype(np.float32)
        mean: ndarray = wide.mean(axis=0, keepdims=True)
        return mean

    def _rows(self, ids: pl.Series) -> Int64[ndarray, " rows"]:
        """Where all vectors of some users are."""
        first = self.interests * np.fromiter((self.table.row(key) for key in ids), dtype=np.int64)
        return (first[:, None] + np.arange(self.interests)).reshape(-1)
