"""Vectors of many users, a block at a time: what encode collects and export writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from jaxtyping import Float32, Int64
from numpy import ndarray

from usermodel.embedding_files.precision import normalize
from usermodel.encoders.encode import BATCH_EVENTS, encode
from usermodel.encoders.protocol import EncoderModule
from usermodel.sampling.protocol import Examples
from usermodel.store.sequences import Sequences

#: Users of a block: enough to sort by length and fill batches, few enough for progress to be seen and memory to be spared.
BLOCK_USERS: Final = 1 << 14


@dataclass(frozen=True)
class How:
    """What is asked of a vector beside whose it is.

    Attributes:
        as_of: Only events before this time are read, in the unit of the sequences; None means all.
        normalize: Scale to length 1.
        batch_events: Events per forward pass, about.
    """

    as_of: int | None = None
    normalize: bool = False
    batch_events: int = BATCH_EVENTS


def encode_block(
    module: EncoderModule, sequences: Sequences, rows: Int64[ndarray, " n"], how: How
) -> Float32[ndarray, "n dim"]:
    """Vectors of the users at ``rows``."""
    stop = stops(sequences, rows, how.as_of)
    if not (stop > sequences.offsets[rows]).any():
        # Nothing is read, so nothing need be there: event types, for example.
        return np.zeros((len(rows), module.dim), dtype=np.float32)
    examples = Examples.histories(sequences, rows, stop, module.max_history, module.n_items)
    vectors = encode(module, sequences, examples, batch_events=how.batch_events)
    return normalize(vectors) if how.normalize else vectors


def facts(
    sequences: Sequences,
    n_items: int,
    first: Int64[ndarray, " n"],
    stop: Int64[ndarray, " n"],
    as_of: int | None,
) -> pl.DataFrame:
    """``n_events n_unknown is_cold prediction_time`` of users whose events are the rows from ``first`` to ``stop``.

    The prediction time is ``as_of``, or one after the user's latest event; null where there is neither.
    """
    n_events, unknown = stop - first, sequences.unknown(n_items).within(first, stop)
    times = pl.Series("prediction_time", np.full(len(stop), as_of or 0), dtype=pl.Int64)
    if as_of is None:
        ahead = np.zeros(len(stop), dtype=np.int64)
        some = n_events > 0
        last = sequences.times[stop[some] - 1]
        ahead[some] = last + (last < np.iinfo(np.int64).max)
        times = pl.Series("prediction_time", ahead).set(pl.Series(~some), None)
    return pl.DataFrame(
        {"n_events": n_events, "n_unknown": unknown, "is_cold": n_events == unknown, "prediction_time": times}
    )


def stops(sequences: Sequences, rows: Int64[ndarray, " n"], as_of: int | None) -> Int64[ndarray, " n"]:
    """Row after the last event of each user before ``as_of``."""
    first, stop = sequences.offsets[rows], sequences.offsets[rows + 1]
    if as_of is None or not len(rows):
        return np.asarray(stop)
    # Bisection in all histories at once: times never fall within one.
    low, high = first.copy(), stop.copy()
    while (open_ := low < high).any():
        middle = (low + high) // 2
        before = open_ & (sequences.times[np.minimum(middle, len(sequences.times) - 1)] < as_of)
        low = np.where(before, middle + 1, low)
        high = np.where(open_ & ~before, middle, high)
    found: ndarray = low
    return found


def blocks_of(rows: Int64[ndarray, " n"]) -> Iterator[Int64[ndarray, " block"]]:
    """Cut users into blocks; at least one, which may be empty."""
    for start in range(0, max(len(rows), 1), BLOCK_USERS):
        yield rows[start : start + BLOCK_USERS]
