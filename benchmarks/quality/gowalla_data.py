"""Gowalla as NGCF and LightGCN split it: lists of items per user, without times; a store of them and its splits."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import polars as pl

from usermodel.events.readers import read_events
from usermodel.events.splits import Split
from usermodel.store.build import build_store
from usermodel.store.sequence_store import SequenceStore

PARTS = ("train", "valid", "test")


def read(folder: Path) -> pl.DataFrame:
    """``user, item, part``: lines of a user and the items, ``user item item ...``."""
    frames = []
    for number, part in enumerate(PARTS):
        with gzip.open(folder / f"{part}.txt.gz", "rt") as lines:
            rows = [np.array(line.split(), dtype=np.int64) for line in lines]
        user = np.repeat([row[0] for row in rows], [len(row) - 1 for row in rows])
        item = np.concatenate([row[1:] for row in rows])
        frames.append(pl.DataFrame({"user_id": user, "item_id": item, "part": number}))
    return pl.concat(frames)


def open_store(folder: Path, work: Path) -> tuple[SequenceStore, Split, Split]:
    """The store; the split whose validation part is held out, and the one in which it trains too."""
    events = read(folder).sort("user_id", "part", maintain_order=True)
    log = events.select("user_id", "item_id", timestamp=pl.int_range(pl.len()))
    store = build_store(read_events(log, time_unit="order", id_type="int"), work)
    assert store.n_events == len(events)
    counts = events.group_by("user_id").agg(*[(pl.col("part") == n).sum().alias(PARTS[n]) for n in range(3)])
    of_user = pl.DataFrame({"user_id": store.users.ids}).join(
        counts, on="user_id", how="left", maintain_order="left"
    )
    start = np.asarray(store.offsets[:-1])
    train, valid, test = (of_user[part].to_numpy().astype(np.int64) for part in PARTS)
    valid_stop = start + train + valid
    held = Split(start, start + train, valid_stop, valid_stop + test, "train | valid | test")
    return store, held, Split(start, valid_stop, valid_stop, valid_stop + test, "train and valid | test")
