"""Exact repeats of a row: counted always, dropped on request."""

from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl

from usermodel.events.rejects import Accounting

Duplicates = Literal["keep", "drop"]


def drop_duplicates(log: pl.LazyFrame, policy: Duplicates, accounting: Accounting) -> pl.LazyFrame:
    """Count rows that repeat an earlier one in every column, and drop them under ``drop``.

    Only rows whose 64-bit hash occurs twice are compared, which is exact and costs a sort of the hashes.

    Args:
        log: Accepted rows, in input order; the first of equal rows stays.
        policy: ``keep`` or ``drop``.
        accounting: Gets the counts.
    """
    frame = log.collect()
    hashes = frame.select(pl.struct(pl.all().to_physical()).hash()).to_series().to_numpy()
    ordered = np.sort(hashes)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if not len(twice):
        return frame.lazy()
    suspects = np.flatnonzero(np.isin(hashes, twice))
    first = frame[suspects].select(pl.struct(pl.all()).is_first_distinct()).to_series().to_numpy()
    repeats = suspects[~first]
    accounting.repeated = len(repeats)
    if policy == "keep" or not len(repeats):
        return frame.lazy()
    accounting.duplicates = len(repeats)
    keep = np.ones(frame.height, dtype=bool)
    keep[repeats] = False
    return frame.filter(pl.Series(keep)).lazy()
