"""Leakage as a property of data: does a split of a store keep what it promises? Counted row by row, on no model's word."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from jaxtyping import Bool, Int64
from numpy import ndarray

from usermodel.errors import DataError
from usermodel.events.splits import PARTS, Split
from usermodel.events.splits_table import out_of_order
from usermodel.schema import SplitName
from usermodel.store.sequence_store import SequenceStore

_HELD_OUT: Final[tuple[SplitName, ...]] = ("valid", "test")
_PAIRS: Final[tuple[tuple[SplitName, SplitName], ...]] = (
    ("train", "valid"),
    ("valid", "test"),
    ("train", "test"),
)
#: History events compared at once.
_TILE: Final = 1 << 22


@dataclass(frozen=True)
class Check:
    """One promise, counted.

    Attributes:
        name: Short name.
        promise: What must hold.
        checked: Rows, targets or users looked at.
        offending: How many of them break the promise.
        first: The first of those: user and row, and what the row holds.
    """

    name: str
    promise: str
    checked: int
    offending: int
    first: str | None = None


@dataclass(frozen=True)
class LeakageReport:
    """What was proved about a split of a store.

    Attributes:
        split: Name of the split.
        checks: Every promise with its counts.
        counts: Facts that are no offence but change what a number means.
    """

    split: str
    checks: tuple[Check, ...]
    counts: dict[str, int]

    @property
    def clean(self) -> bool:
        """Whether every promise is kept."""
        return not any(check.offending for check in self.checks)

    def require_clean(self, where: str) -> None:
        """Raise `DataError` that names the first offending row, unless the report is clean."""
        for check in self.checks:
            if check.offending:
                found = f"{check.offending:,} of {check.checked:,} that break it, first {check.first}"
                do = "Remove such rows from the log and ingest again, or use another split."
                raise DataError(f"{where}: {self.split}", expected=check.promise, found=found, do=do)

    def facts(self) -> dict[str, Any]:
        """Flat plain data."""
        checks = {
            check.name: {k: v for k, v in asdict(check).items() if k != "name"} for check in self.checks
        }
        return {"split": self.split, "clean": self.clean, "checks": checks, "counts": self.counts}


def check_leakage(store: SequenceStore, split: Split) -> LeakageReport:
    """Compare every row of a split with what the split promises.

    A split that was made by hand, or read from a file without a configuration, is held to what every split promises.

    Raises:
        DataError: The split has no test target, so that there is nothing to prove.
    """
    look = _Look(store, split)
    ranges = look.ranges()
    if ranges.offending:
        # The other checks read rows by these ranges.
        return LeakageReport(split.name, (ranges,), {})
    if not len(split.targets("test")[0]):
        do = "Ingest longer histories, or use another split."
        raise DataError(f"{store.path}: {split.name}", expected="a test target", found="none", do=do)
    return LeakageReport(split.name, (ranges, *look.checks()), look.counts())


class _Look:
    """One store and one split under the lens."""

    def __init__(self, store: SequenceStore, split: Split) -> None:
        self.store, self.split = store, split
        self.offsets, self.times = np.asarray(store.offsets), np.asarray(store.times)
        self.users = np.arange(store.n_users)
        self.strict = bool(split.config and split.config.strict_in_time)

    def checks(self) -> Iterator[Check]:
        """All but the ranges, which come first."""
        yield self.rows_in_order()
        yield self.inputs_end_before_targets()
        if self.strict:
            yield self.parts_apart_in_time()
        else:
            yield self.parts_in_order()
        yield self.no_row_twice()
        yield self.targets_have_histories()
        yield self.statistics_see_train_only()
        if self.split.config and self.split.config.disjoint_users:
            yield self.users_in_one_part()

    def ranges(self) -> Check:
        """Ranges of a user inside the history, one after the other."""
        bad = np.flatnonzero(out_of_order(self.split, self.offsets))
        promise = "parts inside each history, one after the other"
        return self._check("ranges", promise, len(self.users), self.offsets[bad])

    def rows_in_order(self) -> Check:
        """Times never fall within a user."""
        falls = np.r_[False, np.diff(self.times) < 0]
        falls[self.offsets[:-1]] = False
        return self._check("order", "rows of a user in order of time", len(self.times), np.flatnonzero(falls))

    def inputs_end_before_targets(self) -> Check:
        """The latest moment of each target's history, compared with the target's."""
        users, rows = self._targets()
        has = rows > self.offsets[users]
        first, last = self.offsets[users][has], rows[has]
        # Every other entry of reduceat is the maximum over one history, [first, target).
        latest = np.maximum.reduceat(self.times, np.stack([first, last], axis=1).ravel())[::2]
        late = latest >= self.times[last] if self.strict else latest > self.times[last]
        promise = (
            "every input strictly earlier than its target"
            if self.strict
            else "no input later than its target, ties by file position"
        )
        return self._check("inputs_before_targets", promise, len(last), last[late])

    def parts_in_order(self) -> Check:
        """Per user: the last moment of a part is not after the first one of the next."""
        bad, checked = [], 0
        for earlier, later in _PAIRS:
            (a, a_stop), (b, b_stop) = self.split.part(earlier), self.split.part(later)
            both = (a_stop > a) & (b_stop > b)
            checked += int(both.sum())
            bad.append(b[both][self.times[a_stop[both] - 1] > self.times[b[both]]])
        promise = "train before valid before test, for each user"
        return self._check("parts_in_order", promise, checked, np.concatenate(bad))

    def parts_apart_in_time(self) -> Check:
        """For everyone: each part is strictly later than all of the parts before."""
        bad, latest = [], None
        for name in PARTS:
            rows = np.flatnonzero(self._mask(name))
            if latest is not None:
                bad.append(rows[self.times[rows] <= latest])
            if len(rows):
                highest = int(self.times[rows].max())
                latest = highest if latest is None else max(latest, highest)
        checked = sum(part["events"] for part in self.split.counts().values())
        promise = "train strictly before valid strictly before test, for everyone"
        return self._check("parts_in_order", promise, checked, np.concatenate([*bad, self.users[:0]]))

    def no_row_twice(self) -> Check:
        """The same user, item and time in two parts, or in a held-out part and its history."""
        part = np.full(len(self.times), -1, dtype=np.int8)
        for number, name in enumerate(PARTS):
            part[self._mask(name)] = number
        # Rows of a user are in order of time, so that copies lie in one run of equal times.
        later = np.flatnonzero(np.diff(self.times) == 0) + 1
        rows = np.union1d(later, later - 1)
        user, item, time = self._owner(rows), self.store.items[rows], self.times[rows]
        order = np.lexsort((rows, item, time, user))
        keys = np.stack([user[order], item[order], time[order]])
        same = (keys[:, 1:] == keys[:, :-1]).all(axis=0)
        row = rows[order]
        bad = row[1:][same & (part[row[1:]] != part[row[:-1]])]
        return self._check("no_row_twice", "no (user, item, time) row in two parts", len(self.times), bad)

    def targets_have_histories(self) -> Check:
        """At least one event of the same user before each target."""
        users, rows = self._targets()
        bad = rows[(rows <= self.offsets[users]) | (rows >= self.offsets[users + 1])]
        return self._check("targets_have_histories", "a history before every target", len(rows), bad)

    def statistics_see_train_only(self) -> Check:
        """What fitted statistics count is every row before ``train_stop``: none of them may be outside train."""
        stop = np.repeat(self.split.train_stop, np.diff(self.offsets))
        counted = np.arange(len(self.times)) < stop
        bad = np.flatnonzero(counted & ~self._mask("train"))
        return self._check("statistics", "statistics that count training rows only", int(counted.sum()), bad)

    def users_in_one_part(self) -> Check:
        """Nobody trains and is held out."""
        parts = [np.less(*self.split.part(name)) for name in PARTS]
        bad = self.users[np.sum(parts, axis=0) > 1]
        return self._check("users_in_one_part", "no user in two parts", len(self.users), self.offsets[bad])

    def counts(self) -> dict[str, int]:
        """Facts that change what a number means."""
        items, train = self.store.items, self._mask("train")
        known = np.bincount(items[train], minlength=self.store.n_items + 1) > 0
        facts: dict[str, int] = {}
        for name, part in self.split.counts().items():
            facts |= {f"{name}_{what}": number for what, number in part.items()}
        for name in _HELD_OUT:
            users, rows = self.split.targets(name)
            facts[f"{name}_targets"] = len(rows)
            facts[f"{name}_targets_never_seen_in_train"] = int((~known[items[rows]]).sum())
            facts[f"{name}_targets_already_in_the_history"] = self._repeated(users, rows)
        if self.store.time_kind == "utc":
            first = self.times[self.split.targets("test")[1]].min()
            facts["train_events_not_before_the_first_test_target"] = int((self.times[train] >= first).sum())
        return facts

    def _repeated(self, users: Int64[ndarray, " n"], rows: Int64[ndarray, " n"]) -> int:
        """Targets whose item the user has taken before."""
        start = self.offsets[users]
        lengths = rows - start
        tile = np.cumsum(lengths) // _TILE
        repeated = 0
        for some in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(tile)) + 1):
            n = lengths[some]
            first = np.cumsum(n) - n
            history = np.repeat(start[some] - first, n) + np.arange(n.sum())
            hit = self.store.items[history] == np.repeat(self.store.items[rows[some]], n)
            owner = np.repeat(np.arange(len(some)), n)
            repeated += len(np.unique(owner[hit]))
        return repeated

    def _targets(self) -> tuple[Int64[ndarray, " n"], Int64[ndarray, " n"]]:
        found = [self.split.targets(name) for name in _HELD_OUT]
        return np.concatenate([users for users, _ in found]), np.concatenate([rows for _, rows in found])

    def _mask(self, name: SplitName) -> Bool[ndarray, " events"]:
        """Which rows are in a part."""
        first, stop = self.split.part(name)
        n = len(self.times)
        steps = np.bincount(first, minlength=n + 1) - np.bincount(stop, minlength=n + 1)
        inside: ndarray = np.cumsum(steps)[:n] > 0
        return inside

    def _owner(self, rows: ndarray) -> Int64[ndarray, " n"]:
        owner: ndarray = np.searchsorted(self.offsets, rows, side="right") - 1
        return owner

    def _check(self, name: str, promise: str, checked: int, bad: ndarray) -> Check:
        if not len(bad):
            return Check(name, promise, checked, 0)
        row = min(int(bad.min()), len(self.times) - 1)
        user = self._owner(np.array([row]))
        who = self.store.users.decode(user + 1)[0]
        item = self.store.vocabulary.decode(self.store.items[row : row + 1])[0]
        place = row - int(self.offsets[user[0]])
        first = f"user {who!r}, event {place} of the history: item {item!r} at {int(self.times[row])}"
        return Check(name, promise, checked, len(bad), first)
