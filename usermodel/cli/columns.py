"""Options that name further columns of a log, shared by the commands that read one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

PANEL = "Columns"

Label = Annotated[
    str | None,
    typer.Option(metavar="COL", help="Column of labels: numbers.", rich_help_panel=PANEL, show_default=False),
]
Session = Annotated[
    str | None,
    typer.Option(
        metavar="COL",
        help="Column of the ids of sessions that events belong to.",
        rich_help_panel=PANEL,
        show_default=False,
    ),
]
Categorical = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[NAME=]COL", help="Column of text, kept as categories. Repeatable.", rich_help_panel=PANEL
    ),
]
Numeric = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[NAME=]COL",
        help="Column of numbers, empty where unknown. Repeatable.",
        rich_help_panel=PANEL,
    ),
]


def named(words: Sequence[str] | None, option: str) -> dict[str, str]:
    """``["device", "price=price_usd"]`` -> our name -> theirs.

    Raises:
        ConfigError: A name that is given twice.
    """
    from usermodel.errors import ConfigError

    columns: dict[str, str] = {}
    for word in words or ():
        name, equals, column = word.partition("=")
        if name in columns:
            found, do = repr(word), "Leave one out, or write NAME=COLUMN with another name."
            raise ConfigError(option, expected=f"the name {name!r} once", found=f"it again in {found}", do=do)
        columns[name] = column if equals else word
    return columns
