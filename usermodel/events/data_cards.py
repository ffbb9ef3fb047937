"""Cards of public data sets: what a set is, who owns it, what it should hold; and the tables a recipe reads from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from usermodel.errors import DataError
from usermodel.events.times import TimeUnit

#: What a set can be used for.
TASKS: Final = frozenset(
    {"next-item", "ctr", "watch-time", "user-attribute", "rating", "collaborative-filtering", "exposure-bias"}
)


@dataclass(frozen=True)
class DataFile:
    """A file a recipe reads.

    Attributes:
        name: Its path below the folder; ``*`` stands for anything.
        sha256: Its hash, where known.
        n_bytes: Its size, where known.
        is_optional: Whether the recipe does without it.
    """

    name: str
    sha256: str | None = None
    n_bytes: int | None = None
    is_optional: bool = False


@dataclass(frozen=True)
class Counts:
    """How many users, items and events a complete set has; ``None`` where nobody says so.

    Attributes:
        users: Different users with at least one event.
        items: Different items with at least one event.
        events: Rows of the log, those left out for their time included.
        is_recalled: Taken from memory or a second-hand table: not counted in the files and not read at the source.
    """

    users: int | None = None
    items: int | None = None
    events: int | None = None
    is_recalled: bool = False


@dataclass(frozen=True)
class Layout:
    """A form in which the set comes: the owner's, or a well-known preparation of it.

    Attributes:
        name: ``original``, or the name of the preparation.
        files: What belongs to it.
        counts: What it should hold.
        about: How it differs from the owner's.
    """

    name: str
    files: tuple[DataFile, ...]
    counts: Counts
    about: str = ""


@dataclass(frozen=True)
class Download:
    """A file that its owner offers to everybody at a plain address.

    Attributes:
        url: The owner's address.
        name: Name of the file on disk.
        checksum: ``sha256:...`` or ``md5:...``; ``None`` where unknown.
        n_bytes: Its size, where known.
    """

    url: str
    name: str
    checksum: str | None = None
    n_bytes: int | None = None


@dataclass(frozen=True)
class Published:
    """A number that somebody published on the set.

    Attributes:
        figure: The number, with method and metric.
        source: Where it stands.
        is_recalled: From memory; never an acceptance target.
    """

    figure: str
    source: str
    is_recalled: bool = False


@dataclass(frozen=True)
class Card:
    """What is known of a public data set.

    Attributes:
        name: Its name on the command line; the file is that name with underscores.
        title: Its name in prose.
        source: The owner's page.
        licence: The terms, as the owner states them.
        licence_short: The same in a few words.
        columns: Our names -> the owner's.
        layouts: Forms in which it comes; the owner's is the first.
        tasks: What it can be used for (`TASKS`).
        citation: What the owner asks to cite.
        published: Numbers published on it.
        downloads: Files that ``usermodel data get`` may fetch; empty where the owner asks for a form, a login or consent.
        by_hand: How to obtain the files otherwise.
    """

    name: str
    title: str
    source: str
    licence: str
    licence_short: str
    columns: Mapping[str, str]
    layouts: tuple[Layout, ...]
    tasks: tuple[str, ...]
    citation: str
    published: tuple[Published, ...] = ()
    downloads: tuple[Download, ...] = ()
    by_hand: str = ""

    @property
    def counts(self) -> Counts:
        """The counts of the owner's own form."""
        return self.layouts[0].counts

    def layout(self, name: str) -> Layout:
        """The layout of that name.

        Raises:
            DataError: The card has none such.
        """
        for layout in self.layouts:
            if layout.name == name:
                return layout
        known = ", ".join(layout.name for layout in self.layouts)
        raise DataError(self.name, expected=f"a layout among {known}", found=name, do="Mend the recipe.")


@dataclass(frozen=True)
class Tables:
    """What a recipe reads from raw files.

    Attributes:
        events: ``user_id item_id timestamp`` and features (`schema.EVENT_FEATURES`) by our names.
        time_unit: Unit of integer times, ``order`` where they only say what came first.
        tz: Time zone of times that name none.
        layout: Which layout of the card this was.
        impressions: ``user_id item_id timestamp clicked propensity``, then whatever else is known of a showing.
        labels: ``user_id prediction_time value``, ``item_id`` where the label is about one, then context columns.
        items: ``item_id``, then attributes.
        users: ``user_id``, then attributes.
        left_out: Reason -> rows of the log that are no events; they count towards the card's events.
        notes: What to know before using it.
    """

    events: pl.DataFrame
    time_unit: TimeUnit = "s"
    tz: str | None = None
    layout: str = "original"
    impressions: pl.DataFrame | None = None
    labels: pl.DataFrame | None = None
    items: pl.DataFrame | None = None
    users: pl.DataFrame | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def side_tables(self) -> dict[str, pl.DataFrame]:
        """The tables beside the events that are there."""
        tables = {
            "impressions": self.impressions,
            "labels": self.labels,
            "items": self.items,
            "users": self.users,
        }
        return {name: table for name, table in tables.items() if table is not None}
