"""Removing users from an index, physically: it is built again of the others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from usermodel import manifest
from usermodel.embeddings.forget import require_key
from usermodel.embeddings.keys import IdKey
from usermodel.errors import DataError
from usermodel.retrieval.files import KIND
from usermodel.retrieval.user_index import UserIndex
from usermodel.schema import IdType
from usermodel.store.forget import Receipt


@dataclass(frozen=True)
class ForgetfulIndex:
    """An index that users are to be removed from; whatever is wrong with it shows before anything is written.

    Attributes:
        path: The index.
        index: What it holds; None for items, among whom there is nobody.
        key: The key of pseudonyms.
    """

    path: Path
    index: UserIndex | None
    key: IdKey | None

    @staticmethod
    def open(path: Path, key: IdKey | None = None) -> ForgetfulIndex:
        """Open an index; checksums are compared.

        Raises:
            ConfigError: It has pseudonyms and there is no key, or another one.
        """
        meta = manifest.read(path, KIND, verify=True).meta
        if meta.get("of", "items") != "users":
            return ForgetfulIndex(path, None, None)
        return ForgetfulIndex(path, UserIndex.load(path), require_key(path, meta, key))

    @property
    def kind(self) -> IdType:
        """Type of the ids to ask with; pseudonyms are made of the text of any."""
        return "int" if self.index is not None and self.index.table.ids.dtype.is_integer() else "string"

    def forget(self, users: pl.Series) -> Receipt:
        """Build the index anew without some users and put it in the place of the old one, in one atomic step.

        Args:
            users: External ids, as in the log.

        Returns:
            The receipt; when the index knows none of the users it is left as it is.

        Raises:
            DataError: Nobody would be left.
        """
        asked = users.unique()
        if self.index is None:
            return Receipt(str(self.path), len(asked), 0, len(asked), 0, {"vectors": 0})
        names = asked if self.key is None else self.key.of(asked)
        ids = self.index.table.ids
        found = int(ids.is_in(names.implode()).sum()) if names.dtype == ids.dtype else 0
        if found == len(ids):
            do = "Delete the folder."
            raise DataError(str(self.path), expected="users who stay", found="none", do=do)
        if found:
            self.index.without(names).save(self.path, overwrite=True)
        return Receipt(str(self.path), len(asked), found, len(asked) - found, 0, {"vectors": found})
