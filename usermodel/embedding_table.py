"""EmbeddingTable: vectors keyed by the caller's own ids. Scorer: the only thing a task sees."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import polars as pl
import torch
from jaxtyping import Float, Int64, Shaped
from numpy import ndarray
from torch import Tensor

from usermodel import manifest
from usermodel.embedding_files.parquet import to_arrow
from usermodel.embedding_files.precision import Dtype, Loss, Stored, normalize, store
from usermodel.embedding_files.rows import Rows, Writer
from usermodel.embedding_files.table import SINGLE, file_writer, open_reader, open_writer
from usermodel.errors import DataError, IntegrityError, MismatchError, MissingError

if TYPE_CHECKING:
    import pandas as pd

KIND: Final = "embeddings"
#: Columns whose sums stand in the manifest, by their names there.
SUMS: Final = {"n_events": "n_events", "n_unknown": "n_unknown", "is_cold": "n_cold"}
#: Facts of an export that stay with its vectors when they are saved again.
PROVENANCE: Final = ("normalize", "as_of", "ids", "key_check", "time_kind", "store_hash")
#: Rows written at once, and so rows of a row group.
_BLOCK: Final = 1 << 16


@dataclass(frozen=True)
class EmbeddingTable:
    """One vector per id.

    Attributes:
        ids: External ids (String or Int64), unique.
        vectors: ``float32[n, dim]`` or ``float16[n, dim]``; ``[n, interests, dim]`` where an encoder gives several.
        encoder_hash: Content hash of the encoder that made them.
        columns: Further facts per row. For users: ``n_events`` (events of the user), ``n_unknown`` (those of items that
            the encoder does not know, which were skipped), ``is_cold`` (nothing is known of the user, the vector is zeros)
            and ``prediction_time`` (what came before it is in the vector).
        name: Name of the id column: ``user_id`` or ``item_id``.
        meta: Facts of the export that a table was read from.
    """

    ids: pl.Series
    vectors: Shaped[ndarray, "n ..."]
    encoder_hash: str
    columns: pl.DataFrame = field(default_factory=pl.DataFrame)
    name: str = "user_id"
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        facts = len(self.columns) if self.columns.width else len(self.ids)
        if self.vectors.ndim not in {2, 3} or not len(self.ids) == len(self.vectors) == facts:
            found = (
                f"{len(self.ids)} ids, vectors of shape {self.vectors.shape}, {facts} rows of further facts"
            )
            do = "Pass matching arrays."
            raise DataError("embeddings", expected="one vector [dim] per id", found=found, do=do)
        if self.ids.dtype not in (pl.String, pl.Int64) or self.ids.null_count():
            found = f"{self.ids.dtype} with {self.ids.null_count()} empty ones"
            do = "Cast them to text or 64-bit integers, and drop empty ones."
            raise DataError("embeddings", expected="ids of text or 64-bit integers", found=found, do=do)
        if self.ids.n_unique() != len(self.ids):
            raise DataError(
                "embeddings", expected="unique ids", found="repeated ones", do="Embed each id once."
            )

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.ids)

    def __contains__(self, key: object) -> bool:
        # True is no id, though it equals 1; a list is none either.
        return isinstance(key, str | int) and not isinstance(key, bool) and key in self._rows

    def __getitem__(self, key: Any) -> Float[ndarray, "..."]:
        """The vector of one id."""
        return np.asarray(self.vectors[self.row(key)])

    def __repr__(self) -> str:
        shape = " x ".join(f"{size:,}" for size in self.vectors.shape)
        return (
            f"EmbeddingTable({self.name}: {shape} of {self.vectors.dtype}, encoder {self.encoder_hash[:12]})"
        )

    @cached_property
    def _rows(self) -> dict[Any, int]:
        return {key: row for row, key in enumerate(self.ids)}

    def row(self, key: Any) -> int:
        """The row of one id."""
        if key not in self:
            raise MissingError(
                self.name, expected="an id of this table", found=repr(key), do="Check the id and its type."
            )
        return self._rows[key]

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return int(self.vectors.shape[-1])

    def take(self, ids: Iterable[Any]) -> EmbeddingTable:
        """The rows of some ids, in their order.

        Raises:
            MissingError: An id that the table does not have.
        """
        rows = np.fromiter((self.row(key) for key in ids), dtype=np.int64)
        columns = self.columns[rows] if self.columns.width else self.columns
        return replace(
            self, ids=self.ids.gather(rows), vectors=np.asarray(self.vectors[rows]), columns=columns
        )

    def normalized(self) -> EmbeddingTable:
        """The same with vectors of length 1, in float32; zeros stay zeros. Inner products are then cosines."""
        return replace(self, vectors=normalize(self.vectors), meta={**self.meta, "normalize": True})

    def to_numpy(self) -> Shaped[ndarray, "n ..."]:
        """The vectors, in the order of ``ids``."""
        return np.asarray(self.vectors)

    def to_torch(self) -> Shaped[Tensor, "n ..."]:
        """The vectors as a tensor of its own, in the order of ``ids``."""
        # Vectors from a file are read-only memory, which torch does not know.
        return torch.from_numpy(np.array(self.vectors, order="C"))

    def to_polars(self) -> pl.DataFrame:
        """Columns: id, further facts, ``embedding`` (arrays of fixed size)."""
        rows = Rows(self.ids.alias(self.name), self.columns, Stored(np.ascontiguousarray(self.vectors)))
        frame = pl.from_arrow(to_arrow(rows))
        assert isinstance(frame, pl.DataFrame)
        return frame

    def to_pandas(self) -> pd.DataFrame:
        """The same as `to_polars`, as a pandas frame (pandas must be installed)."""
        return self.to_polars().to_pandas()

    def save(
        self, path: str | os.PathLike[str], *, dtype: Dtype = "float32", overwrite: bool = False
    ) -> None:
        """Write the table, complete or not at all, with a manifest that says what ``dtype`` has cost.

        Args:
            path: ``NAME.parquet`` or ``NAME.safetensors`` is one file; ``NAME.npy`` a folder of that name with a
                ``.npy`` matrix, because its ids need a file of their own.
            dtype: ``float32``, ``float16`` (half the bytes), or ``int8`` with a scale a row (a quarter).
            overwrite: Replace an older table.

        Raises:
            DataError: Another suffix.
            OutputExistsError: ``path`` exists.
            NumericError: Vectors that are not finite, or too large for float16.
        """
        path = Path(path)
        which = self.name.removesuffix("_id") + "s"
        if path.suffix not in {*SINGLE, ".npy"}:
            do = "Name a .parquet, .safetensors or .npy output."
            raise DataError(str(path), expected="a known suffix", found=repr(path.suffix), do=do)
        if path.suffix == ".npy":
            with manifest.write_directory(path, KIND, overwrite=overwrite) as draft:
                writer = open_writer(draft.path, which, "npy")
                draft.meta.update(self.write(writer, dtype), format="npy")
            return
        with manifest.write_file(path, KIND, overwrite=overwrite) as draft:
            writer = file_writer(draft.path, path.suffix)
            draft.meta.update(self.write(writer, dtype), format=path.suffix[1:])

    def write(self, writer: Writer, dtype: Dtype = "float32") -> dict[str, Any]:
        """Put all rows through a writer, complete it, and return the facts for a manifest."""
        loss = Loss()
        with writer:
            for start in range(0, max(len(self), 1), _BLOCK):
                part = slice(start, start + _BLOCK)
                stored = store(self.vectors[part], dtype)
                loss.add(self.vectors[part], stored)
                columns = self.columns[part] if self.columns.width else self.columns
                writer.add(Rows(self.ids[part].alias(self.name), columns, stored))
        facts: dict[str, Any] = {"encoder_hash": self.encoder_hash, "dim": self.dim, "dtype": dtype}
        facts[f"n_{self.name.removesuffix('_id')}s"] = len(self)
        facts |= {name: self.meta[name] for name in PROVENANCE if name in self.meta}
        for column, name in SUMS.items():
            if column in self.columns.columns:
                facts[name] = int(self.columns[column].sum())
        return facts if dtype == "float32" else facts | {"loss": loss.facts()}

    @staticmethod
    def load(path: str | os.PathLike[str], which: str | None = None) -> EmbeddingTable:
        """Read a table; checksums are compared first. int8 comes back as float32.

        Args:
            path: A file, or a folder with tables of users and items.
            which: ``users`` or ``items``; None means the users of a folder, and whatever a file holds.

        Raises:
            MissingError: No such table.
            IntegrityError: Damaged files.
        """
        path = Path(path)
        facts = manifest.read(path, KIND, verify=True).meta
        reader = open_reader(path, which or "users")
        vectors, name = reader.all().vectors(), reader.ids.name
        if which is not None and name != f"{which.removesuffix('s')}_id":
            do = "Embed into a folder, which holds both."
            raise MissingError(str(path), expected=f"a table of {which}", found=f"one by {name}", do=do)
        try:
            return EmbeddingTable(
                reader.ids, vectors, str(facts["encoder_hash"]), reader.columns, name, facts
            )
        except (KeyError, DataError) as error:
            raise IntegrityError(
                str(path), expected="a table of vectors", found=f"{error!r:.80}", do="Embed again."
            ) from None


class Scorer(Protocol):
    """Scores of every item for some users: embeddings, baselines and peers all look like this to a task.

    A scorer older than its store may also have ``n_unknown``: so many items at the end of the vocabulary it cannot score.
    They rank below all others. Without it, a number of items other than the store's is an error.
    """

    @property
    def n_items(self) -> int:
        """Items that can be scored."""
        ...

    def scores(self, users: Int64[ndarray, " batch"]) -> Float[Tensor, "batch items"]:
        """Scores of items 1 to n_items (column 0 is item 1) for users by store position, on the CPU."""
        ...


def unknown_items(scorer: Scorer) -> int:
    """Items at the end of the vocabulary that a scorer says it cannot score."""
    return int(getattr(scorer, "n_unknown", 0))


@dataclass(frozen=True)
class DotScorer:
    """Inner products of user and item vectors.

    Attributes:
        users: ``[n, dim]``, one row per entry of ``rows``.
        items: ``[items, dim]``; row 0 is item 1.
        rows: Store position of each user row, increasing; None means row u is user u.
        n_unknown: Items of the store that follow and have no vector.
    """

    users: Float[Tensor, "n dim"]
    items: Float[Tensor, "items dim"]
    rows: Int64[ndarray, " n"] | None = None
    n_unknown: int = 0

    def __post_init__(self) -> None:
        if self.users.shape[-1] != self.items.shape[-1]:
            found = f"{self.users.shape[-1]} and {self.items.shape[-1]}"
            raise MismatchError(
                "scorer",
                expected="user and item vectors of one width",
                found=found,
                do="Use one run for both.",
            )

    @property
    def n_items(self) -> int:
        """Items that can be scored."""
        return len(self.items)

    def scores(self, users: Int64[ndarray, " batch"]) -> Float[Tensor, "batch items"]:
        """Inner products, in float32; raises what `vectors` does."""
        return self.vectors(users) @ self.items.T

    def vectors(self, users: Int64[ndarray, " batch"]) -> Float[Tensor, "batch dim"]:
        """Vectors of users by store position.

        Raises:
            DataError: A user without a vector.
        """
        rows = users
        if self.rows is not None:
            rows = np.minimum(np.searchsorted(self.rows, users), len(self.rows) - 1)
            unknown = users[self.rows[rows] != users]
            if len(unknown):
                found = f"user {unknown[0]} ({len(unknown)} such)"
                raise DataError(
                    "scorer", expected="users with a vector", found=found, do="Encode them first."
                )
        return self.users[torch.from_numpy(np.ascontiguousarray(rows))]
