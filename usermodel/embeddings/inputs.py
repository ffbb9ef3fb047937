"""What may be embedded: stores, logs, frames, files, and histories written down one by one."""

from __future__ import annotations

import operator
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from jaxtyping import Int64
from numpy import ndarray

from usermodel import manifest
from usermodel.embeddings.moments import microseconds
from usermodel.errors import ConfigError, DataError
from usermodel.events.event_log import KIND as LOG
from usermodel.events.event_log import EventLog
from usermodel.events.readers import as_frame, read_events
from usermodel.events.vocabulary import Vocabulary
from usermodel.store.memory import MemorySequences, sequences_of_histories, sequences_of_log
from usermodel.store.sequence_store import KIND as STORE
from usermodel.store.sequence_store import SequenceStore
from usermodel.store.sequences import Sequences

#: The user of a single history that was given without an id.
ONE_USER: Final = "user"


def as_sequences(
    source: Any,
    vocabulary: Vocabulary,
    *,
    clock: bool = True,
    event_types: Sequence[str] = (),
    reading: Mapping[str, Any] | None = None,
) -> Sequences:
    """Histories to embed.

    Args:
        source: A store, an `EventLog`, a polars or pandas frame, a path of any of these on disk, one history as a list of
            (item, time) pairs, or a mapping from user ids to such lists.
        vocabulary: Items that the encoder knows.
        clock: Whether times must be times. Otherwise numbers in files and frames that can be none are taken as an order.
        event_types: Event types that it has codes for.
        reading: Options of `read_events` for files and frames.

    Raises:
        DataError: Something else, or rows that are no events.
        ConfigError: Options of reading for what is not read.
    """
    options = dict(reading or {})
    # An empty path is not the working folder; whoever reads files refuses it.
    if isinstance(source, str | os.PathLike) and source != "" and (Path(source) / manifest.NAME).is_file():
        source = _open(Path(source))
    read = isinstance(source, SequenceStore | EventLog | Mapping) or _is_history(source)
    if read and options:
        found, do = f"{', '.join(options)} beside {type(source).__name__}", "Leave them out."
        raise ConfigError(
            "encode", expected="options of reading for a frame or files only", found=found, do=do
        )
    if isinstance(source, SequenceStore):
        return source
    if isinstance(source, Mapping):
        return _histories(source, vocabulary)
    if _is_history(source):
        return _histories({ONE_USER: source}, vocabulary)
    if not isinstance(source, EventLog):
        if not isinstance(source, str | os.PathLike | list | tuple):
            source = as_frame(source)
            if source.is_empty():
                return _histories({}, vocabulary)
        source = _read(source, {"id_type": vocabulary.kind, **options}, clock=clock)
    return sequences_of_log(source, vocabulary, event_types)


def _open(path: Path) -> SequenceStore | EventLog:
    kind = manifest.read(path).kind
    if kind == STORE:
        return SequenceStore.open(path)
    if kind == LOG:
        return EventLog.open(path)
    do = "Give the path of a store, a log, or files of events."
    raise DataError(str(path), expected="histories", found=f"{kind!r}", do=do)


def _read(source: Any, options: dict[str, Any], *, clock: bool) -> EventLog:
    """A log; numbers that are no times of 1990 to 2100 in any unit are an order, where an order is enough."""
    try:
        return read_events(source, **options)
    except DataError:
        if clock or "time_unit" in options:
            raise
        return read_events(source, **options, time_unit="order")


def _is_history(source: Any) -> bool:
    return isinstance(source, list | tuple) and not any(isinstance(one, str | os.PathLike) for one in source)


def _histories(given: Mapping[Any, Any], vocabulary: Vocabulary) -> MemorySequences:
    given = {_whole(user): history for user, history in given.items()}
    kinds = {type(user) for user in given}
    if kinds not in (set(), {str}, {int}):
        found = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise DataError(
            "users", expected="text or whole numbers as ids", found=found, do="Use ids of one type."
        )
    wanted = int if vocabulary.kind == "int" else str
    return sequences_of_histories(
        {user: _pairs(history, wanted, f"history of {user!r}") for user, history in given.items()}, vocabulary
    )


def _pairs(history: Any, wanted: type, where: str) -> tuple[pl.Series, Int64[ndarray, " n"]]:
    """Items and times of one history."""
    try:
        rows = [(_whole(item), _time(time)) for item, time in history]
        times = np.array([time for _, time in rows], dtype=np.int64)
    except (TypeError, ValueError, OverflowError):
        found, do = (
            f"{history!r:.60}",
            "A time is a datetime with a zone, or a 64-bit integer: microseconds since 1970 UTC.",
        )
        raise DataError(where, expected="(item, time) pairs", found=found, do=do) from None
    odd = [item for item, _ in rows if not isinstance(item, wanted) or isinstance(item, bool)]
    if odd:
        found, do = f"{odd[0]!r} of type {type(odd[0]).__name__}", "Pass ids as they were in training."
        raise DataError(where, expected=f"items of type {wanted.__name__}", found=found, do=do)
    items = pl.Series("id", [item for item, _ in rows], dtype=pl.Int64 if wanted is int else pl.String)
    return items, times


def _whole(value: Any) -> Any:
    """Numbers and text of numpy as those of Python; whatever is neither stays what it is."""
    if isinstance(value, np.integer) or (isinstance(value, int) and not isinstance(value, bool)):
        number = int(value)
        if not -(2**63) <= number < 2**63:
            do = "Use the ids of the log."
            raise DataError("ids", expected="64-bit integers", found=f"{number}", do=do)
        return number
    if isinstance(value, str):
        text = str(value)
        if not text.isascii() and any(0xD800 <= ord(one) < 0xE000 for one in text):
            raise DataError(
                "ids", expected="text in Unicode", found=ascii(text), do="Use the ids of the log."
            )
        return text
    return value


def _time(time: Any) -> int:
    """Microseconds since 1970 UTC; a whole number is one already."""
    return microseconds(time) if isinstance(time, datetime) else operator.index(time)
