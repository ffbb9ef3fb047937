"""Indexes on disk: a folder with the FAISS file, and the table of vectors that it is a cache of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, get_args

from usermodel import manifest
from usermodel.ann.base import Metric, Spec
from usermodel.ann.kinds import kind_of
from usermodel.embedding_files.table import open_reader, open_writer
from usermodel.embedding_table import EmbeddingTable
from usermodel.errors import ConfigError, DataError, IntegrityError
from usermodel.retrieval.vector_index import Measured, VectorIndex

KIND: Final = "index"
FILE: Final = "index.faiss"
_AGAIN: Final = "Build it again."


def save(
    path: Path,
    index: VectorIndex,
    table: EmbeddingTable,
    which: str,
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


def load_table(path: Path, which: str, facts: Mapping[str, Any]) -> EmbeddingTable:
    """The vectors of an index folder."""
    reader = open_reader(path, which)
    try:
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


def load_index(path: Path, table: EmbeddingTable, facts: Mapping[str, Any]) -> VectorIndex:
    """The index in a FAISS file whose sha256 was compared, over the vectors of a table.

    Raises:
        IntegrityError: Facts or a file that do not fit.
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
    if (spec.n, spec.dim) != (len(table), table.dim):
        found_in = f"{len(table):,} of width {table.dim}"
        raise IntegrityError(
            str(path), expected=f"{spec.n:,} vectors of width {spec.dim}", found=found_in, do=_AGAIN
        )
    index = kind.load(path, spec)
    try:
        index.set_effort(effort)
    except DataError as error:
        raise IntegrityError(
            str(path), expected="the effort of its kind", found=error.found, do=_AGAIN
        ) from None
    return VectorIndex(index, table.vectors, found)
