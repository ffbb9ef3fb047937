"""Public data sets: find the recipes, read raw files with them, and check what was read against the card.

A recipe is a file in ``datasets/`` (in the wheel: ``usermodel/_datasets``) with a `data_cards.Card` named ``CARD`` and a
function ``read(folder) -> Tables``. It is loaded by its path: a package named ``datasets`` would shadow another one.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any, Final

import polars as pl

from usermodel.errors import DataError, MissingError, nearest
from usermodel.events.data_cards import Card, Tables
from usermodel.events.event_log import EventLog
from usermodel.events.readers import read_events
from usermodel.schema import CLICKED, FEATURE_OPTIONS, ITEM, PREDICTION_TIME, TIME, USER, VALUE

_PACKAGE: Final = Path(__file__).parents[1]
#: Columns that must be there and full, per side table.
_REQUIRED: Final = {
    "impressions": (USER, ITEM, TIME, CLICKED),
    "labels": (USER, PREDICTION_TIME, VALUE),
    "items": (ITEM,),
    "users": (USER,),
}


@dataclass(frozen=True)
class DataSet:
    """A recipe: its card and its reader."""

    card: Card
    read: Callable[[Path], Tables]


@dataclass(frozen=True)
class Prepared:
    """A data set that was read from raw files.

    Attributes:
        card: What the set should be.
        tables: What was read.
        log: Its events.
        checks: Name -> (expected by the card or ``None``, found), for users, items and events.
    """

    card: Card
    tables: Tables
    log: EventLog
    checks: dict[str, tuple[int | None, int]]

    @property
    def differences(self) -> list[str]:
        """The counts that are not the card's, as sentences."""
        return [
            f"{name}: the card says {expected:,}, found {found:,}"
            for name, (expected, found) in self.checks.items()
            if expected not in {None, found}
        ]


class _Loader(SourceFileLoader):
    """Loads a recipe and leaves no compiled copy beside it: the folder may be read-only, and is copied into the wheel."""

    def set_data(self, path: str, data: Any, *, _mode: int = 0o666) -> None:
        """Write nothing."""


def recipes_folder() -> Path:
    """Where the recipes are: the wheel's copy, or ``datasets/`` of the source tree."""
    for folder in (_PACKAGE / "_datasets", _PACKAGE.parent / "datasets"):
        if folder.is_dir():
            return folder
    do = "Install usermodel again, or work in a checkout."
    raise MissingError("data set recipes", expected="a folder 'datasets'", found="none", do=do)


def names() -> list[str]:
    """Names of all recipes."""
    return sorted(path.stem.replace("_", "-") for path in recipes_folder().glob("*.py"))


def load(name: str) -> DataSet:
    """The recipe of that name.

    Raises:
        DataError: There is none such, or the file is no recipe.
    """
    known = names()
    if name not in known:
        do = nearest(name, known) + " See: usermodel data list."
        raise DataError(name, expected="the name of a data set", found="an unknown one", do=do)
    path = recipes_folder() / f"{name.replace('-', '_')}.py"
    module_name = f"usermodel_data_set_{path.stem}"
    loader = _Loader(module_name, str(path))
    spec = importlib.util.spec_from_file_location(module_name, path, loader=loader)
    if spec is None or spec.loader is None:
        raise DataError(str(path), expected="a Python file", found="another one", do="Restore the file.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    card, read = getattr(module, "CARD", None), getattr(module, "read", None)
    if not isinstance(card, Card) or not callable(read):
        do = "See docs/howto/add_a_data_set.md."
        raise DataError(str(path), expected="CARD and read(folder)", found="one of them missing", do=do)
    return DataSet(card, read)


def read_data_set(name: str, folder: str | Path) -> Prepared:
    """Read the raw files of a data set.

    Args:
        name: A name of `names`.
        folder: Where the owner's files are; archives must be unpacked.

    Returns:
        Tables, events and how they compare with the card. Counts are those before any filter.

    Raises:
        MissingError: A file is not there.
        DataError: A file holds something else.
    """
    recipe = load(name)
    folder = Path(folder)
    if not folder.is_dir():
        found = "a file" if folder.exists() else "no such folder"
        do = f"Name the folder that holds the files of {recipe.card.title}."
        raise MissingError(str(folder), expected="a folder", found=found, do=do)
    try:
        tables = recipe.read(folder)
    except pl.exceptions.PolarsError as error:
        found = " ".join(str(error).split())[:160]
        do = "Check that the files are the owner's, unpacked and unchanged."
        raise DataError(str(folder), expected=f"files of {recipe.card.title}", found=found, do=do) from None
    for kind, table in tables.side_tables().items():
        _check_side_table(f"{name}: {kind}", table, _REQUIRED[kind])
    expected = recipe.card.layout(tables.layout).counts
    events = tables.events
    if events.is_empty():
        do = "Check the files."
        raise DataError(str(folder), expected=f"events of {recipe.card.title}", found="none", do=do)
    checks = {
        "users": (expected.users, events[USER].n_unique()),
        "items": (expected.items, events[ITEM].n_unique()),
        "events": (expected.events, events.height + sum(tables.left_out.values())),
    }
    return Prepared(recipe.card, tables, _log(name, tables), checks)


def _log(name: str, tables: Tables) -> EventLog:
    features: dict[str, Any] = {
        option: column for option, column in FEATURE_OPTIONS.items() if column in tables.events.columns
    }
    log = read_events(tables.events, time_unit=tables.time_unit, tz=tables.tz, **features)
    return replace(log, sources=(name,))


def _check_side_table(where: str, table: pl.DataFrame, required: tuple[str, ...]) -> None:
    """A recipe that drops a key is a bug of ours; say so before it reaches a store."""
    for column in required:
        if column not in table.columns:
            found = ", ".join(table.columns)
            raise DataError(where, expected=f"a column {column!r}", found=found, do="Mend the recipe.")
        if table[column].null_count():
            found = f"{table[column].null_count():,} empty ones"
            raise DataError(where, expected=f"a {column} in every row", found=found, do="Mend the recipe.")
    key = required[0]
    if len(required) == 1 and table[key].n_unique() < table.height:
        found = f"{table.height - table[key].n_unique():,} rows more"
        raise DataError(where, expected=f"one row per {key}", found=found, do="Mend the recipe.")
