"""Ids of a log -> user and item numbers, after the k-core."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from jaxtyping import Bool, Int32
from numpy import ndarray

from usermodel.events.codes import count, take
from usermodel.events.event_log import Columnwise
from usermodel.events.filters import k_core
from usermodel.events.vocabulary import Vocabulary
from usermodel.schema import ITEM, USER
from usermodel.store.steps import CODE_ITEMS, CODE_USERS, K_CORE, Steps


@dataclass(frozen=True)
class Known:
    """What is numbered already and must keep its number.

    Attributes:
        users: Users of the older store.
        items: Its items.
        categories: What is behind the codes of its event types, sessions and categorical columns, by column.
    """

    users: Vocabulary
    items: Vocabulary
    categories: Mapping[str, Vocabulary] = field(default_factory=dict)


@dataclass(frozen=True)
class Coded:
    """Events that passed the k-core, in input order.

    Attributes:
        users: All users, the known ones first.
        items: All items, the known ones first.
        item: Item of each event, 0 to n_items - 1.
        keep: Which rows of the log are events; ``None`` when every row is one.
        rounds: What each round of the k-core removed: users, items, events.
    """

    users: Vocabulary
    items: Vocabulary
    item: Int32[ndarray, " events"]
    keep: Bool[ndarray, " rows"] | None
    rounds: list[tuple[int, int, int]]

    def of_events(self, column: ndarray) -> ndarray:
        """The rows of a column of the log that are events."""
        return column if self.keep is None else column[self.keep]


def code_events(
    events: pl.DataFrame | Columnwise,
    core: tuple[int, int],
    known: Known | None = None,
    steps: Steps | None = None,
) -> tuple[Coded, Int32[ndarray, " events"]]:
    """Number users and items.

    Args:
        events: Rows with ``user_id`` and ``item_id``.
        core: Events that every user and every item must keep.
        known: Users and items that have a number already; new ones follow them, sorted among themselves.
        steps: Told of what begins.

    Returns:
        The events, and the user of each, 0 to n_users - 1: apart, because it can be let go once they are grouped.

    Raises:
        DataError: Empty ids, or ids of another type than the known ones.
    """
    # All distinct ids, in order; what the k-core takes away is dropped from them below.
    steps = steps or Steps()
    steps.begin(CODE_USERS)
    all_users, user = Vocabulary.fit(events[USER])
    steps.begin(CODE_ITEMS)
    all_items, item = Vocabulary.fit(events[ITEM])
    steps.begin(K_CORE)
    keep, rounds = k_core(user, item, *core)
    everything = bool(keep.all())
    if not everything:
        # One after the other: never four of these arrays at a time.
        user = user[keep]
        item = item[keep]
    users, user = _number(all_users, user, known.users if known else None)
    items, item = _number(all_items, item, known.items if known else None)
    return Coded(users, items, item, None if everything else keep, rounds), user


def _number(found: Vocabulary, codes: ndarray, known: Vocabulary | None) -> tuple[Vocabulary, ndarray]:
    """Drop ids that no event uses, and put the known ones first."""
    used = count(codes, len(found)) > 0
    if known is None and used.all():
        return found, codes
    ids = found.ids.filter(pl.Series(used))
    vocabulary = Vocabulary(ids) if known is None else known.extend(ids)
    number = np.zeros(len(found), dtype=np.int32)
    number[used] = np.arange(len(ids)) if known is None else vocabulary.encode(ids) - 1
    return vocabulary, take(number, codes)
