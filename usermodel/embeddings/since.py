"""What an earlier export already knows: users without new events keep their vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Int64
from numpy import ndarray

from usermodel import manifest
from usermodel.embedding_files.precision import Stored
from usermodel.embedding_files.rows import Reader
from usermodel.embedding_files.table import open_reader
from usermodel.embedding_table import KIND
from usermodel.embeddings.files import USERS
from usermodel.errors import ConfigError, MismatchError
from usermodel.store.append import ADDED_TO
from usermodel.store.sequence_store import SequenceStore

#: Facts that must be those of the new export, with the option that makes them so.
_SAME = {"dtype": "--dtype", "normalize": "--normalize", "ids": "--ids", "key_check": "--key"}


@dataclass(frozen=True)
class Earlier:
    """An export of an earlier store.

    Attributes:
        reader: Its users.
        meta: Its facts.
    """

    reader: Reader
    meta: Mapping[str, Any]

    @staticmethod
    def open(path: Path, store: SequenceStore, wanted: Mapping[str, Any]) -> Earlier:
        """Open an export, if its vectors are those that an export of ``store`` would hold for users without new events.

        Args:
            path: File or folder; checksums are compared.
            store: The store it was made from, or what that has grown into.
            wanted: Facts of the new export.

        Raises:
            MismatchError: Another encoder, or a store that has not grown from its store by ``append``.
            ConfigError: Other options, or one of the two as of some time.
        """
        meta = manifest.read(path, KIND, verify=True).meta
        if meta.get("encoder_hash") != wanted["encoder_hash"]:
            found = f"one of encoder {str(meta.get('encoder_hash'))[:12]}"
            expected, do = (
                f"an export of encoder {wanted['encoder_hash'][:12]}",
                "Export all users, without --since.",
            )
            raise MismatchError(str(path), expected=expected, found=found, do=do)
        for name, option in _SAME.items():
            if meta.get(name) != wanted.get(name):
                found, do = (
                    f"{meta.get(name)!r} there",
                    f"Use the same {option}, or export all users, without --since.",
                )
                raise ConfigError(
                    "--since", expected=f"{name} {wanted.get(name)!r} as asked for", found=found, do=do
                )
        if wanted.get("as_of") is not None or meta.get("as_of") is not None:
            do = "Export all users, without --since."
            raise ConfigError(
                "--since", expected="all events in both exports", found="one as of some time", do=do
            )
        if meta.get("store_hash") not in {store.content_hash, *store.meta.get(ADDED_TO, ())}:
            found = f"one of store {str(meta.get('store_hash'))[:12]}"
            expected = (
                f"an export of store {store.content_hash[:12]}, or of one it has grown from by append alone"
            )
            do = "Export all users, without --since."
            raise MismatchError(str(path), expected=expected, found=found, do=do)
        return Earlier(open_reader(path, USERS), meta)

    def unchanged(self, ids: pl.Series, n_events: Int64[ndarray, " n"]) -> Int64[ndarray, " n"]:
        """Row of each user here; -1 for new users and for those with new events (``append`` only ever adds some)."""
        here = pl.DataFrame([self.reader.ids.alias("id"), self.reader.columns["n_events"].alias("before")])
        asked = pl.DataFrame([ids.alias("id"), pl.Series("now", n_events)])
        found = asked.join(here.with_row_index("row"), on="id", how="left", maintain_order="left")
        same = (found["before"] == found["now"]).fill_null(value=False)
        row = found["row"].cast(pl.Int64).fill_null(-1).to_numpy()
        out: ndarray = np.where(same.to_numpy(), row, -1)
        return out

    def take(self, rows: Int64[ndarray, " n"]) -> Stored:
        """Vectors as they are stored, in the order of ``rows``."""
        order = np.argsort(rows, kind="stable")
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return self.reader.take(rows[order]).take(back)
