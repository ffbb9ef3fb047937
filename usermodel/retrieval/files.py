"""Indexes on disk: a folder with the FAISS file, and the table of vectors that it is a cache of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

from usermodel import manifest
from usermodel.ann.base import Effort, FaissIndex, Metric, Spec
from usermodel.ann.kinds import kind_of
from usermodel.embedding_files.table import open_reader, open_writer
from usermodel.embedding_table import EmbeddingTable
from usermodel.errors import ConfigError, DataError, IntegrityError, MissingError
from usermodel.retrieval.tuning import Measured
from usermodel.retrieval.vector_index import VectorIndex

KIND: Final = "index"
FILE: Final = "index.faiss"
_AGAIN: Final = "Build it again."
_LOADER: Final = {"items": "ItemIndex.load", "users": "UserIndex.load"}
Which = Literal["items", "users"]


def save(
    path: Path,
    index: VectorIndex,
    table: EmbeddingTable,
    which: Which,
    *,
    overwrite: bool = False,
    **facts: Any,
) -> None:
    """Write an index with its vectors and ids, complete or not at all.

    Args:
        path: Folder.
        index: What to write.
        table: Its vectors by id, in the same order.
        which: ``items`` or ``users``.
        overwrite: Replace an older one.
        **facts: More for the manifest.
    """
    with manifest.write_directory(path, KIND, overwrite=overwrite) as draft:
        index.index.save(draft.path / FILE)
        draft.meta.update(table.write(open_writer(draft.path, which, "npy")))
        draft.meta.update(index.facts(), of=which, **facts)


def read_facts(path: Path, which: Which, *, damaged: bool = False) -> dict[str, Any]:
    """The facts of an index whose files are whole.

    Args:
        path: File or folder.
        which: What it has to be of.
        damaged: Whether the FAISS file itself may be anything: it is not looked at.

    Raises:
        MissingError: No index, or one of something else.
        IntegrityError: A damaged file.
    """
    but = (FILE if path.is_dir() else path.name) if damaged else ""
    facts = manifest.read(path, KIND, verify=True, but=but).meta
    found = facts.get("of", "items")
    if found != which:
        do = f"Open it with {_LOADER.get(str(found), 'what wrote it')}."
        raise MissingError(str(path), expected=f"an index of {which}", found=f"one of {found}", do=do)
    return facts


def load_table(path: Path, which: Which, facts: Mapping[str, Any]) -> EmbeddingTable:
    """The vectors of an index folder."""
    try:
        reader = open_reader(path, which)
        return EmbeddingTable(
            reader.ids,
            reader.all().vectors(),
            str(facts["encoder_hash"]),
            reader.columns,
            reader.ids.name,
            facts,
        )
    except (KeyError, DataError) as error:
        raise IntegrityError(
            str(path), expected="a table of vectors", found=f"{error!r:.80}", do=_AGAIN
        ) from None


@dataclass(frozen=True)
class Plan:
    """What a manifest says of an index.

    Attributes:
        path: File or folder, for messages.
        kind: Its kind.
        spec: Sizes, metric and seed.
        effort: How hard it looks.
        measured: What tuning found.
    """

    path: Path
    kind: type[FaissIndex]
    spec: Spec
    effort: Effort
    measured: Measured | None

    @staticmethod
    def of(path: Path, facts: Mapping[str, Any]) -> Plan:
        """From the facts of a manifest.

        Raises:
            IntegrityError: They are not those of an index.
        """
        try:
            kind = kind_of(str(facts["type"]))
            spec = Spec(int(facts["dim"]), int(facts["n"]), facts["metric"], int(facts["seed"]))
            effort, measured = dict(facts["effort"]), facts.get("measured")
            found = Measured(**measured) if measured else None
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            raise IntegrityError(
                str(path), expected="the facts of an index", found=f"{error!r:.80}", do=_AGAIN
            ) from None
        if spec.metric not in get_args(Metric):
            found_in = f"{spec.metric!r}"
            raise IntegrityError(str(path), expected="a known metric", found=found_in, do=_AGAIN)
        return Plan(path, kind, spec, effort, found)

    def load(self, file: Path, table: EmbeddingTable) -> VectorIndex:
        """The index in a FAISS file whose sha256 was compared, over the vectors of a table.

        Raises:
            IntegrityError: A table or a file that does not fit.
        """
        rows = table.vectors.reshape(-1, table.dim)
        if (self.spec.n, self.spec.dim) != rows.shape:
            found, expected = (
                f"{len(rows):,} of width {table.dim}",
                f"{self.spec.n:,} vectors of width {self.spec.dim}",
            )
            raise IntegrityError(str(self.path), expected=expected, found=found, do=_AGAIN)
        index = self.kind.load(file, self.spec)
        try:
            index.set_effort(self.effort)
        except DataError as error:
            raise self._no_effort(error) from None
        return VectorIndex(index, rows, self.measured)

    def make(self, table: EmbeddingTable) -> VectorIndex:
        """The index built again from the vectors of its table; the effort that was tuned for them stays.

        Raises:
            IntegrityError: The effort is that of another kind.
        """
        rows = table.vectors.reshape(-1, table.dim)
        try:
            return VectorIndex.again(self.kind, self.spec, self.effort, rows, self.measured)
        except DataError as error:
            raise self._no_effort(error) from None

    def _no_effort(self, error: DataError) -> IntegrityError:
        return IntegrityError(str(self.path), expected="the effort of its kind", found=error.found, do=_AGAIN)
