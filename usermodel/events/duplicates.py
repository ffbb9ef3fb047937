"""Exact repeats of a row: counted always, dropped on request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

import numpy as np
import polars as pl
from jaxtyping import UInt64
from numpy import ndarray

from usermodel.events.rejects import Accounting
from usermodel.events.spool import Spool

Duplicates = Literal["keep", "drop"]
#: Rows hashed at once; a log larger than memory comes in such batches.
_BATCH_ROWS: Final = 1 << 22


def drop_duplicates(log: pl.LazyFrame, policy: Duplicates, accounting: Accounting) -> pl.LazyFrame:
    """Count rows that repeat an earlier one in every column, and drop them under ``drop``.

    Only rows whose 64-bit hash occurs twice are compared, which is exact and costs a sort of the hashes: 8 bytes a row.

    Args:
        log: Accepted rows, in input order; the first of equal rows stays.
        policy: ``keep`` or ``drop``.
        accounting: Gets the counts.
    """
    n = int(log.select(pl.len()).collect().item())
    hashes = np.empty(n, dtype=np.uint64)
    for start, _, values in _hashed(log):
        hashes[start : start + len(values)] = values
    hashes.sort()
    twice = np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
    del hashes
    if not len(twice):
        return log
    repeats = _repeats(log, twice)
    accounting.repeated = len(repeats)
    if policy == "keep" or not len(repeats):
        return log
    accounting.duplicates = len(repeats)
    spool = Spool()
    for start, frame in _batches(log):
        gone = repeats[np.searchsorted(repeats, start) : np.searchsorted(repeats, start + frame.height)]
        keep = np.ones(frame.height, dtype=bool)
        keep[gone - start] = False
        spool.add(frame.filter(pl.Series(keep)))
    spool.end_file(1, 1)
    return spool.finish()


def _repeats(log: pl.LazyFrame, twice: UInt64[ndarray, " n"]) -> ndarray:
    """Rows that are equal to an earlier one, of those whose hash is among ``twice``."""
    suspects, places = [], []
    for start, frame, values in _hashed(log):
        # `twice` is sorted and mostly short.
        at = np.minimum(np.searchsorted(twice, values), len(twice) - 1)
        found = np.flatnonzero(twice[at] == values)
        suspects.append(frame[found])
        places.append(found + start)
    first = pl.concat(suspects).select(pl.struct(pl.all()).is_first_distinct()).to_series().to_numpy()
    rows: ndarray = np.concatenate(places)[~first]
    return rows


def _hashed(log: pl.LazyFrame) -> Iterator[tuple[int, pl.DataFrame, UInt64[ndarray, " rows"]]]:
    """Batches, each with its first row and the hashes of its rows."""
    for start, frame in _batches(log):
        yield start, frame, frame.select(pl.struct(pl.all().to_physical()).hash()).to_series().to_numpy()


def _batches(log: pl.LazyFrame) -> Iterator[tuple[int, pl.DataFrame]]:
    start = 0
    for frame in log.collect_batches(chunk_size=_BATCH_ROWS, maintain_order=True):
        yield start, frame
        start += frame.height
