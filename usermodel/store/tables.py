"""Side tables of a store: impressions, labels, and what is known about items and users, joined to it by id."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from jaxtyping import Bool, Int64
from numpy import ndarray

from usermodel import manifest
from usermodel.errors import DataError, IntegrityError, nearest
from usermodel.events.parquet import read_parquet, write_parquet
from usermodel.events.vocabulary import Vocabulary
from usermodel.schema import ITEM, PREDICTION_TIME, TIME, USER
from usermodel.store.sequence_store import SequenceStore
from usermodel.store.table_input import ITEM_INDEX, NAMES, USER_ROW

FOLDER: Final = "tables"


def write_tables(
    tables: Mapping[str, pl.DataFrame], users: Vocabulary, items: Vocabulary, folder: Path
) -> dict[str, dict[str, int]]:
    """Join tables to users and items and write them; rows about others are dropped and counted.

    Args:
        tables: What `read_tables` returned.
        users: Users of the store.
        items: Items of the store.
        folder: Folder of the store.

    Returns:
        For each table the rows read, written, and dropped for an unknown user or (else) an unknown item.
    """
    facts = {}
    for name, frame in sorted(tables.items()):
        read, found = frame.height, frame
        counts = {}
        for column, new, vocabulary in ((USER, USER_ROW, users), (ITEM, ITEM_INDEX, items)):
            if column in frame.columns:
                index = pl.Series(new, vocabulary.encode(found[column]))
                # A label without an item is about the user.
                index = index.set(found[column].is_null(), None)
                known = index.is_null() | (index > 0)
                found = found.with_columns(index - 1 if new == USER_ROW else index).filter(known)
                counts[f"unknown_{'users' if new == USER_ROW else 'items'}"] = int((~known).sum())
        facts[name] = {"read": read, "written": found.height, **counts}
        _save(found, folder, name)
    return facts


def keep_users(
    store: SequenceStore, keep: Bool[ndarray, " users"], folder: Path
) -> tuple[dict[str, dict[str, int]], dict[str, int]]:
    """Write the tables of a store without the rows of some users; the others move up.

    Returns:
        The facts of all tables, and the rows removed from each.
    """
    facts, removed = {}, {}
    row = np.cumsum(keep, dtype=np.int64) - 1
    for name, before in store.meta.get(FOLDER, {}).items():
        frame = store.table(name)
        if USER_ROW in frame.columns:
            old: Int64[ndarray, " rows"] = frame[USER_ROW].to_numpy()
            frame = frame.with_columns(pl.Series(USER_ROW, row[old], dtype=pl.Int32)).filter(
                pl.Series(keep[old])
            )
        _save(frame, folder, name)
        removed[name] = int(before["written"]) - frame.height
        forgotten = before.get("forgotten", 0) + removed[name]
        facts[name] = before | {"written": frame.height, "forgotten": forgotten}
    return facts, removed


def copy_tables(store: SequenceStore, folder: Path) -> None:
    """Copy the tables of a store whose users and items keep their numbers."""
    for name in store.meta.get(FOLDER, {}):
        (folder / FOLDER).mkdir(exist_ok=True)
        shutil.copyfile(store.folder / FOLDER / f"{name}.parquet", folder / FOLDER / f"{name}.parquet")


def load_table(store: SequenceStore, name: str) -> pl.DataFrame:
    """Read one table of a store.

    Raises:
        DataError: The store has no such table.
        IntegrityError: It is damaged.
        MismatchError: The store was replaced in between.
    """
    there = sorted(store.meta.get(FOLDER, {}))
    if name not in there:
        options = {table: option.replace("_", "-") for option, table in NAMES.items()}
        do = f"Ingest with --{options[name]}." if name in options else nearest(name, options)
        raise DataError(name, expected="a table of this store", found=", ".join(there) or "none", do=do)
    path = store.folder / FOLDER / f"{name}.parquet"
    there_now = store.require_current()
    if manifest.sha256(path) != there_now.files[f"{FOLDER}/{path.name}"]["sha256"]:
        do = "Ingest again."
        raise IntegrityError(str(path), expected="the sha256 of its manifest", found="other bytes", do=do)
    return read_parquet(path)


def side_columns(store: SequenceStore, name: str) -> list[str]:
    """What a table of a store knows beside ids; nothing where the store has no such table."""
    if name not in store.meta.get(FOLDER, {}):
        return []
    return beside_ids(load_table(store, name))


def beside_ids(table: pl.DataFrame) -> list[str]:
    """Columns of a table that are no ids."""
    ids = {USER, ITEM, USER_ROW, ITEM_INDEX}
    return [column for column in table.columns if column not in ids]


def _save(frame: pl.DataFrame, folder: Path, name: str) -> None:
    keys = [column for column in (USER_ROW, TIME, PREDICTION_TIME, ITEM_INDEX) if column in frame.columns]
    # By user and time, ties in input order; an item decides only where there is no user.
    keys = keys[:-1] if keys[0] == USER_ROW and keys[-1] == ITEM_INDEX else keys
    (folder / FOLDER).mkdir(exist_ok=True)
    ids = [column for column in (USER_ROW, USER, ITEM_INDEX, ITEM) if column in frame.columns]
    frame = frame.select(*ids, pl.exclude(ids)).sort(keys, maintain_order=True)
    write_parquet(frame, folder / FOLDER / f"{name}.parquet")
