"""Histories in memory, coded by the vocabulary of an encoder: no folder, nothing learnt, nothing written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Int32, Int64
from numpy import ndarray

from usermodel.errors import DataError, nearest
from usermodel.events.codes import take
from usermodel.events.event_log import EventLog
from usermodel.events.vocabulary import Vocabulary
from usermodel.schema import EVENT_FEATURES, EVENT_TYPE, ITEM, TIME, USER, TimeKind, feature_type, has_codes
from usermodel.store.contents import categories_of, feature_column
from usermodel.store.order import by_time, by_user
from usermodel.store.unknown import UnknownEvents


@dataclass(frozen=True)
class MemorySequences:
    """See `usermodel.store.sequences`. Events of items that the vocabulary lacks have the index after its last.

    Attributes:
        users: User ids.
        n_items: Items of the vocabulary, plus one for all others together.
        offsets: First row of each user, and the number of events at the end.
        items: Item index of each event.
        times: Time of each event.
        time_kind: What the times are.
        made: Further columns by name, each made when it is first asked for.
        event_types: Names behind the codes of ``event_type``.
        path: Where the events came from, for messages.
    """

    users: Vocabulary
    n_items: int
    offsets: Int64[ndarray, " users+1"]
    items: Int32[ndarray, " events"]
    times: Int64[ndarray, " events"]
    time_kind: TimeKind = "utc"
    made: Mapping[str, Callable[[], ndarray]] = field(default_factory=dict)
    event_types: tuple[str, ...] = ()
    path: Path = Path("events")

    @property
    def n_users(self) -> int:
        """Users, those without events included."""
        return len(self.users)

    @property
    def features(self) -> tuple[str, ...]:
        """Names of further columns."""
        return tuple(self.made)

    @cached_property
    def _unknown(self) -> dict[int, UnknownEvents]:
        return {}

    @cached_property
    def _columns(self) -> dict[str, ndarray]:
        return {}

    def feature(self, name: str) -> ndarray:
        """A further column, ``[events]``."""
        if name not in self.made:
            found, do = ", ".join(self.made) or "none", nearest(name, set(EVENT_FEATURES))
            raise DataError(name, expected="a column of these events", found=found, do=do)
        if name not in self._columns:
            self._columns[name] = self.made[name]()
        return self._columns[name]

    def unknown(self, n_items: int) -> UnknownEvents:
        """Events whose item is not among the first ``n_items``."""
        if n_items not in self._unknown:
            self._unknown[n_items] = UnknownEvents.find(self.items, n_items)
        return self._unknown[n_items]


def sequences_of_log(
    log: EventLog, vocabulary: Vocabulary, event_types: Sequence[str] = ()
) -> MemorySequences:
    """Events of a log, by user (sorted by id) and time; ties in time stay in input order, as in a store.

    Args:
        log: The events; rows are read a column at a time, and kept as 16 bytes an event.
        vocabulary: Items that are known.
        event_types: Event types that have a code already; others follow.

    Raises:
        DataError: Item ids of another type than those of the vocabulary.
    """
    events = log.rows()
    users, user = Vocabulary.fit(events[USER])
    item = _coded(vocabulary, events[ITEM])
    grouped = by_user(user, len(users))
    times = by_time(grouped, events[TIME].to_numpy())
    # Of columns of codes, encoders read event types only.
    names = [name for name in log.features if name == EVENT_TYPE or not has_codes(name, log.context)]
    types = None
    if EVENT_TYPE in names:
        types = categories_of(events[EVENT_TYPE], Vocabulary(pl.Series("id", event_types, dtype=pl.String)))

    def column(name: str) -> ndarray:
        kind = feature_type(name, log.context)
        return take(feature_column(events[name], types if name == EVENT_TYPE else None, kind), grouped.order)

    return MemorySequences(
        users,
        len(vocabulary) + 1,
        grouped.offsets,
        take(item, grouped.order),
        times,
        log.time_kind,
        {name: lambda name=name: column(name) for name in names},  # type: ignore[misc]
        tuple(types.ids) if types is not None else (),
        Path(log.sources[0] if log.sources else "events"),
    )


def sequences_of_histories(
    histories: Mapping[str, tuple[pl.Series, Int64[ndarray, " n"]]]
    | Mapping[int, tuple[pl.Series, Int64[ndarray, " n"]]],
    vocabulary: Vocabulary,
) -> MemorySequences:
    """Histories given one by one: user id -> items and times, in the order of the mapping; a history may be empty.

    Events are ordered by time, ties as given.
    """
    ids = list(histories)
    kind = pl.Int64 if ids and isinstance(ids[0], int) else pl.String
    lengths = [len(times) for _, times in histories.values()]
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    order = [
        start + np.argsort(times, kind="stable")
        for start, (_, times) in zip(offsets, histories.values(), strict=False)
    ]
    rows = np.concatenate(order) if order else np.zeros(0, dtype=np.int64)
    wanted = pl.Int64 if vocabulary.kind == "int" else pl.String
    items = pl.concat(
        [pl.Series("id", [], dtype=wanted), *(one for one, _ in histories.values() if len(one))]
    )
    times = np.concatenate([np.zeros(0, dtype=np.int64), *(one for _, one in histories.values())])
    users = Vocabulary(pl.Series("id", ids, dtype=kind))
    coded = _coded(vocabulary, items)
    return MemorySequences(
        users, len(vocabulary) + 1, offsets, coded[rows], times[rows], path=Path("histories")
    )


def _coded(vocabulary: Vocabulary, items: pl.Series) -> Int32[ndarray, " events"]:
    index = vocabulary.encode(items)
    index[index == 0] = len(vocabulary) + 1
    return index
