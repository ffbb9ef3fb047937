"""SPLITS on disk: a split as a table that other programs read, and that comes back only to the store it was made for."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy import ndarray

from usermodel import manifest
from usermodel.errors import IntegrityError, MismatchError
from usermodel.events.parquet import read_parquet, write_parquet
from usermodel.events.splits_base import PARTS, Histories, Split, SplitBase
from usermodel.schema import SPLIT, USER, splits_schema

KIND: Final = "split"
_AGAIN: Final = "Write the split again."


def split_table(split: Split, store: Histories) -> pl.DataFrame:
    """The split as SPLITS: three rows per user (train, valid, test), users in store order.

    ``start`` and ``stop`` are positions in the user's history, half open; equal where the user has nothing in the part.

    Raises:
        MismatchError: The split was made for another store.
    """
    _require_own(split, store)
    base = np.asarray(store.offsets[:-1])
    ranges = np.stack([np.stack(split.part(name)) - base for name in PARTS])
    n = len(base)
    return pl.DataFrame(
        {
            USER: store.users.ids.gather(np.repeat(np.arange(n), len(PARTS))),
            SPLIT: pl.Series(list(PARTS) * n, dtype=pl.String),
            "start": ranges[:, 0].T.ravel(),
            "stop": ranges[:, 1].T.ravel(),
        }
    )


def write_split(store: Histories, split: Split, path: str | Path, *, overwrite: bool = False) -> None:
    """Write SPLITS as Parquet with ``NAME.manifest.json`` beside it: configuration, store, users and events per part.

    Raises:
        MismatchError: The split was made for another store.
        OutputExistsError: ``path`` exists.
        StorageError: The disk refused.
    """
    frame = split_table(split, store)
    table = frame.to_arrow().cast(splits_schema(store.users.kind))
    with manifest.write_file(path, KIND, overwrite=overwrite) as draft:
        write_parquet(table, draft.path)
        draft.meta.update(
            name=split.name,
            config=split.config.to_dict() if split.config else None,
            store=store.content_hash,
            hash=split.hash,
            parts=split.counts(),
        )


def read_split(path: str | Path, store: Histories) -> Split:
    """Read what `write_split` wrote.

    Raises:
        MissingError: No split there.
        MismatchError: It belongs to another store.
        IntegrityError: A damaged file, or ranges that are no split of this store.
    """
    path = Path(path)
    meta = manifest.read(path, KIND, verify=True).meta
    if meta.get("store") != store.content_hash:
        expected = f"a split of store {store.content_hash[:12]}"
        found = f"one of store {str(meta.get('store'))[:12]}"
        raise MismatchError(str(path), expected=expected, found=found, do="Write the split of this store.")
    start, stop = _ranges(path, store)
    made_by = meta.get("config")
    split = Split(
        start=start[:, 0],
        train_stop=stop[:, 0],
        held_from=start[:, 1],
        valid_stop=stop[:, 1],
        test_stop=stop[:, 2],
        name=str(meta.get("name")),
        config=SplitBase.from_dict(made_by) if made_by else None,
        store_hash=store.content_hash,
    )
    if split.hash != meta.get("hash"):
        raise _damaged(path, "the split that its manifest names", "one of another configuration")
    if (start[:, 2] != split.valid_stop).any() or not in_order(split, store):
        raise _damaged(path, "consecutive ranges inside each history", "others")
    return split


def in_order(split: Split, store: Histories) -> bool:
    """Whether every user's ranges lie inside the history, one after the other."""
    return not bool(out_of_order(split, np.asarray(store.offsets)).any())


def out_of_order(split: Split, offsets: ndarray) -> ndarray:
    """Users whose ranges overlap, run backwards or leave the history."""
    rows = [offsets[:-1], split.start, split.train_stop, split.valid_start, split.valid_stop, split.test_stop]
    falls = np.diff(np.stack([*rows, offsets[1:]]), axis=0) < 0
    return np.asarray(falls.any(axis=0))


def _ranges(path: Path, store: Histories) -> tuple[ndarray, ndarray]:
    """Store rows ``[users, 3]`` at which train, valid and test begin and end."""
    frame = read_parquet(path)
    ids, n = store.users.ids, len(store.users)
    wanted: dict[str, Any] = {USER: ids.dtype, SPLIT: pl.String, "start": pl.Int64, "stop": pl.Int64}
    if dict(frame.schema) != wanted or frame.height != n * len(PARTS) or any(frame.null_count().row(0)):
        found = f"{frame.height:,} rows of {', '.join(frame.columns)}"
        raise _damaged(path, f"{len(PARTS)} rows for each of {n:,} users", found)
    same = frame[USER].equals(ids.gather(np.repeat(np.arange(n), len(PARTS))))
    if not same or frame[SPLIT].to_list() != list(PARTS) * n:
        raise _damaged(path, "train, valid and test of each user, in store order", "another order")
    base = np.asarray(store.offsets[:-1])[:, None]
    start, stop = (frame[name].to_numpy().reshape(n, len(PARTS)) + base for name in ("start", "stop"))
    return start, stop


def _require_own(split: Split, store: Histories) -> None:
    if split.store_hash != store.content_hash:
        expected = f"a split of store {store.content_hash[:12]}"
        found = f"one of {split.store_hash[:12] or 'no known store'}"
        raise MismatchError(
            "split", expected=expected, found=found, do="Take the split from store.split(config)."
        )


def _damaged(path: Path, expected: str, found: str) -> IntegrityError:
    return IntegrityError(str(path), expected=expected, found=found, do=_AGAIN)
