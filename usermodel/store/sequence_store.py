"""SequenceStore: per-user event sequences as memory-mapped columns plus user offsets."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl
from jaxtyping import Int32, Int64
from numpy import ndarray

from usermodel import manifest
from usermodel.errors import DataError, IntegrityError, MismatchError, nearest
from usermodel.events.splits import LeaveLastOutConfig, Split, SplitConfig
from usermodel.events.vocabulary import Vocabulary
from usermodel.schema import (
    EVENT_FEATURES,
    EVENT_TYPE,
    FEATURE_OPTIONS,
    ContextKind,
    TimeKind,
    feature_names,
    has_codes,
    is_coded,
    require_context,
)
from usermodel.store.arrays import load_array
from usermodel.store.checks import check_events, check_structure
from usermodel.store.unknown import UnknownEvents

if TYPE_CHECKING:
    from usermodel.store.forget import Receipt

KIND: Final = "store"
_AGAIN: Final = "Ingest again."


class SequenceStore:
    """Immutable sequences of one log, opened by path.

    Row ``offsets[u]`` to ``offsets[u + 1]`` are the events of user ``u`` (0 to n_users - 1), oldest first. Columns are
    read from disk on first use. A process that needs the store opens it by path: pickling sends the path and the hash,
    and a store that has changed in between is refused.

    Attributes:
        path: Folder of the store, as it was given: what messages name.
        folder: The same from the root, which stays right when the process moves to another working folder.
        meta: Facts from the manifest: counts, time kind, what was filtered.
        content_hash: Identity of the content.
        context: Kinds of the columns that were declared, by name.
    """

    def __init__(self, path: str | os.PathLike[str], *, verify: bool = False) -> None:
        self.path = Path(path)
        self.folder = self.path.absolute()
        found = manifest.read(self.path, KIND, verify=verify)
        self.meta: dict[str, Any] = found.meta
        self.content_hash = found.content_hash
        self._categories: dict[str, Vocabulary] = {}
        self._unknown: dict[int, UnknownEvents] = {}
        try:
            self.context: dict[str, ContextKind] = dict(self.meta.get("context", {}))
            # Only names of ours, and names without any sign of a path, become file names.
            require_context(self.context)
            names = feature_names(self.meta["features"], self.context)
            self._features = {name: self._column(name) for name in names}
            coded = [name for name in names if is_coded(name, self.context)]
            self._hashes = {name: self.meta["categories"][name]["hash"] for name in coded}
            check_structure(self)
            if verify:
                check_events(self)
        except IntegrityError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise self.damaged("the facts of a store in its manifest", f"{error!r:.80}") from None

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, verify: bool = False) -> SequenceStore:
        """Open a store.

        Args:
            path: Folder made by `build_store` or ``usermodel ingest``.
            verify: Compare the sha256 of every file, which reads all of it; sizes are always compared.

        Raises:
            MissingError: No store there.
            IntegrityError: A damaged store.
        """
        return cls(path, verify=verify)

    def __reduce__(self) -> tuple[object, ...]:
        return _reopen, (str(self.folder.resolve()), self.content_hash)

    def __repr__(self) -> str:
        return f"SequenceStore({str(self.path)!r}: {self.n_users:,} users, {self.n_items:,} items, {self.n_events:,} events)"

    @property
    def n_users(self) -> int:
        """Users in the store."""
        return int(self.meta["n_users"])

    @property
    def n_items(self) -> int:
        """Items in the vocabulary; their indices are 1 to n_items."""
        return int(self.meta["n_items"])

    @property
    def n_events(self) -> int:
        """Events in the store."""
        return int(self.meta["n_events"])

    @property
    def time_kind(self) -> TimeKind:
        """``utc`` microseconds or a mere ``order``."""
        kind: TimeKind = self.meta["time_kind"]
        return kind

    @cached_property
    def offsets(self) -> Int64[ndarray, " users+1"]:
        """First row of each user, and the number of events at the end."""
        return self._column("offsets")

    @cached_property
    def items(self) -> Int32[ndarray, " events"]:
        """Item index of each event."""
        return self._column("items")

    @cached_property
    def times(self) -> Int64[ndarray, " events"]:
        """Time of each event: microseconds UTC, or the position in an order-only store."""
        return self._column("times")

    @property
    def features(self) -> tuple[str, ...]:
        """Further columns: those of `schema.EVENT_FEATURES`, then the context by name.

        Codes (0 = unknown): ``event_type``, ``session_id`` and categorical columns. ``int64`` (-1 = unknown):
        ``watch_time_ms`` and ``duration_ms``. ``float32`` (NaN = unknown): ``rating``, ``label`` and numeric columns.
        """
        return tuple(self._features)

    def feature(self, name: str) -> ndarray:
        """A further column, ``[events]``."""
        if name not in self._features:
            found = ", ".join(self.features) or "none"
            option = {ours: option.replace("_", "-") for option, ours in FEATURE_OPTIONS.items()}.get(name)
            do = f"Ingest with --{option}." if option else nearest(name, {*EVENT_FEATURES, *self.features})
            raise DataError(name, expected="a column of this store", found=found, do=do)
        return self._features[name]

    def categories(self, name: str) -> Vocabulary:
        """What is behind the codes of a column of codes: ``event_type``, ``session_id`` or a categorical column.

        Code ``c`` of ``feature(name)`` is ``categories(name).ids[c - 1]``, and 0 is no value.

        Raises:
            DataError: The store has no such column, or a column of numbers.
        """
        self.feature(name)
        if not has_codes(name, self.context):
            coded = [one for one in self.features if has_codes(one, self.context)]
            found = ", ".join(coded) or "none"
            do = f"Read the numbers with feature({name!r})."
            raise DataError(name, expected="a column of codes", found=found, do=do)
        if name not in self._categories:
            self._categories[name] = self._categories_of(name)
        return self._categories[name]

    def all_categories(self) -> dict[str, Vocabulary]:
        """`categories` of every column that has them."""
        return {name: self.categories(name) for name in self.features if has_codes(name, self.context)}

    @property
    def event_types(self) -> tuple[str, ...]:
        """Names behind the codes of ``event_type``."""
        return tuple(self.meta.get(EVENT_TYPE + "s", ()))

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Item ids in index order."""
        return self._ids("vocabulary", self.meta.get("vocabulary_hash"))

    @cached_property
    def users(self) -> Vocabulary:
        """User ids; user ``u`` has index ``u + 1`` there."""
        return self._ids("users", self.meta.get("users_hash"))

    def user_rows(self, ids: pl.Series) -> Int64[ndarray, " n"]:
        """Positions of users by external id.

        Raises:
            DataError: An id is not in the store.
        """
        return self.users.rows(ids, str(self.path))

    def split(self, config: SplitConfig | None = None) -> Split:
        """Cut every history into train, valid and test (default: leave-last-out)."""
        return (config or LeaveLastOutConfig()).of(self)

    def item_counts(self, stop: Int64[ndarray, " users"]) -> Int64[ndarray, " items+1"]:
        """Events of each item index before row ``stop`` of each user: popularity on a part of the data."""
        before = np.arange(self.n_events) < np.repeat(stop, np.diff(self.offsets))
        return np.bincount(self.items[before], minlength=self.n_items + 1)

    def unknown(self, n_items: int) -> UnknownEvents:
        """Events whose item is not among the first ``n_items``, which is all that an older encoder knows.

        One pass over the items, the first time; none when the store has no further items.

        Raises:
            IntegrityError: An item index that the vocabulary lacks.
        """
        if n_items not in self._unknown:
            found = UnknownEvents.find(self.items if n_items < self.n_items else self.items[:0], n_items)
            highest = int(self.items[found.rows].max(initial=0))
            if highest > self.n_items:
                raise self.damaged(f"item indices 1 to {self.n_items:,}", f"the index {highest}")
            self._unknown[n_items] = found
        return self._unknown[n_items]

    def table(self, name: str) -> pl.DataFrame:
        """A side table (``impressions``, ``labels``, ``items``, ``users``), with ``user_row`` and ``item_index``.

        Raises:
            DataError: The store has no such table.
        """
        from usermodel.store.tables import load_table

        return load_table(self, name)

    def append(self, log: Any, out: str | os.PathLike[str] | None = None) -> SequenceStore:
        """A store with the events of a new log added, see `usermodel.store.append.append`."""
        from usermodel.store.append import append

        return append(self, log, None if out is None else Path(out))

    def forget(self, users: Iterable[str] | Iterable[int]) -> Receipt:
        """Remove users from the folder, physically, see `usermodel.store.forget.forget`; then open the store again."""
        from usermodel.store.forget import forget

        return forget(self, self.users.ids_of(users))

    def require_current(self) -> manifest.Manifest:
        """The manifest in the folder, if it is still that of this object.

        Raises:
            MismatchError: The store was replaced since it was opened.
        """
        now = manifest.read(self.folder, KIND)
        if now.content_hash != self.content_hash:
            expected, found = f"store {self.content_hash[:12]}", now.content_hash[:12]
            do = "The store was replaced; open it again."
            raise MismatchError(str(self.path), expected=expected, found=found, do=do)
        return now

    def _column(self, name: str) -> ndarray:
        return load_array(self.folder / f"{name}.npy", _AGAIN)

    def _categories_of(self, name: str) -> Vocabulary:
        if name == EVENT_TYPE:
            return Vocabulary(pl.Series("id", self.event_types, dtype=pl.String))
        return self._ids(name, self._hashes[name])

    def _ids(self, name: str, content: str | None) -> Vocabulary:
        """A vocabulary, which is read late: by then somebody may have replaced the store."""
        vocabulary = Vocabulary.load(self.folder / f"{name}.parquet")
        if vocabulary.hash != content:
            raise self.damaged(f"the {name} that its manifest names", f"{len(vocabulary):,} other ids")
        return vocabulary

    def damaged(self, expected: str, found: str) -> IntegrityError:
        """The error of a folder whose manifest says one thing and whose files another."""
        return IntegrityError(str(self.path), expected=expected, found=found, do=_AGAIN)


def _reopen(path: str, content_hash: str) -> SequenceStore:
    store = SequenceStore(path)
    if store.content_hash != content_hash:
        found = store.content_hash[:12]
        raise MismatchError(
            path,
            expected=f"store {content_hash[:12]}",
            found=found,
            do="The store was replaced; start again.",
        )
    return store
