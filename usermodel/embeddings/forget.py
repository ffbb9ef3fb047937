"""Removing users from an export, physically: their vectors, ids and facts."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from jaxtyping import Int64
from numpy import ndarray

from usermodel import manifest
from usermodel.embedding_files.precision import Loss
from usermodel.embedding_files.rows import Reader, Rows, Writer
from usermodel.embedding_files.table import file_writer, open_reader, open_writer
from usermodel.embedding_table import SUMS
from usermodel.embeddings.files import ITEMS, KIND, USERS
from usermodel.embeddings.keys import IdKey
from usermodel.errors import ConfigError, DataError, IntegrityError
from usermodel.schema import USER, IdType
from usermodel.store.forget import Receipt

_BLOCK: Final = 1 << 16


def require_key(path: Path, meta: Mapping[str, Any], key: IdKey | None) -> IdKey | None:
    """The key, where the manifest says that users have pseudonyms; None where they do not.

    Raises:
        ConfigError: There is no key, or another one.
    """
    check = meta.get("key_check") if meta.get("ids", "raw") == "hmac" else None
    if check is None:
        return None
    if key is None or key.check != check:
        found = "none" if key is None else f"one with the check {key.check}"
        do = "Pass --key FILE with the key that the export was made with."
        raise ConfigError(str(path), expected=f"the key of its pseudonyms ({check})", found=found, do=do)
    return key


@dataclass(frozen=True)
class Forgetful:
    """An export that users are to be removed from; whatever is wrong with it shows before anything is written.

    Attributes:
        path: The export: a file or a folder.
        meta: Its facts.
        reader: Its users.
        key: The key of an export with pseudonyms.
    """

    path: Path
    meta: dict[str, Any]
    reader: Reader
    key: IdKey | None

    @staticmethod
    def open(path: Path, key: IdKey | None = None) -> Forgetful:
        """Open an export; checksums are compared.

        Raises:
            DataError: It holds no users.
            ConfigError: It has pseudonyms and there is no key, or another one.
        """
        meta = manifest.read(path, KIND, verify=True).meta
        reader = open_reader(path, USERS)
        if reader.ids.name != USER:
            do = "Leave it out: items are nobody's."
            raise DataError(
                str(path), expected="vectors of users", found=f"vectors by {reader.ids.name}", do=do
            )
        return Forgetful(path, meta, reader, require_key(path, meta, key))

    @property
    def kind(self) -> IdType:
        """Type of the ids to ask with; pseudonyms are made of the text of any."""
        return "int" if self.reader.ids.dtype.is_integer() else "string"

    def forget(self, users: pl.Series) -> Receipt:
        """Write the export anew without some users, in one atomic step; item vectors and other users stay as they are.

        Args:
            users: External ids, as in the log, whatever the export calls them.

        Returns:
            The receipt; when the export knows none of the users it is left as it is.

        Raises:
            DataError: Ids of another type than those of the export.
        """
        asked = users.unique()
        asked = asked if self.key is None else self.key.of(asked)
        ids, columns = self.reader.ids, self.reader.columns
        if asked.dtype != ids.dtype:
            do = "Write the ids as they are in the log."
            raise DataError(str(self.path), expected=f"{ids.dtype} ids", found=f"{asked.dtype} ids", do=do)
        gone = ids.is_in(asked.implode())
        found = int(gone.sum())
        events = int(columns["n_events"].filter(gone).sum()) if "n_events" in columns.columns else 0
        if found:
            _rewrite(self.path, self.meta, self.reader, np.flatnonzero(~gone.to_numpy()))
        return Receipt(str(self.path), len(asked), found, len(asked) - found, events, {"vectors": found})


def _rewrite(path: Path, facts: dict[str, Any], reader: Reader, kept: Int64[ndarray, " kept"]) -> None:
    columns = reader.columns[kept] if reader.columns.width else reader.columns
    sums = {name: int(columns[column].sum()) for column, name in SUMS.items() if column in columns.columns}
    facts = {**facts, **sums, "n_users": len(kept)}
    if "loss" in facts:
        loss = Loss()
        loss.carry(len(kept), facts["loss"])
        facts["loss"] = loss.facts()
    if path.is_file():
        with manifest.write_file(path, KIND, overwrite=True) as draft:
            _copy(reader, kept, file_writer(draft.path, path.suffix))
            draft.meta.update(facts)
        return
    form = facts.get("format", "parquet")
    if form not in {"parquet", "npy", "safetensors"}:
        raise IntegrityError(str(path), expected="a known format", found=repr(form), do="Embed again.")
    with manifest.write_directory(path, KIND, overwrite=True) as draft:
        for file in path.glob(f"{ITEMS}.*"):
            shutil.copyfile(file, draft.path / file.name)
        _copy(reader, kept, open_writer(draft.path, USERS, form))
        draft.meta.update(facts)


def _copy(reader: Reader, kept: Int64[ndarray, " kept"], writer: Writer) -> None:
    with writer:
        for start in range(0, max(len(kept), 1), _BLOCK):
            rows = kept[start : start + _BLOCK]
            columns = reader.columns[rows] if reader.columns.width else reader.columns
            writer.add(Rows(reader.ids.gather(rows), columns, reader.take(rows)))
