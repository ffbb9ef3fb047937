"""usermodel append"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from usermodel.cli import columns, common

_COLUMNS, _READING = "Columns", "Reading"


def _column(what: str) -> Any:
    return typer.Option(help=f"Column of the {what}.", rich_help_panel=_COLUMNS)


def _reading(text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=_READING)


def append(
    store: common.StorePath,
    logs: Annotated[
        list[str],
        typer.Argument(metavar="LOG...", help="New logs: files, folders, globs or URLs.", show_default=False),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Write another store and leave this one as it is.", show_default=False
        ),
    ] = None,
    user: Annotated[str, _column("user ids")] = "user_id",
    item: Annotated[str, _column("item ids")] = "item_id",
    time: Annotated[str, _column("times")] = "timestamp",
    event_type: Annotated[str | None, _column("event types")] = None,
    watch_time: Annotated[str | None, _column("watch times, in milliseconds")] = None,
    duration: Annotated[str | None, _column("item durations, in milliseconds")] = None,
    rating: Annotated[str | None, _column("ratings")] = None,
    label: columns.Label = None,
    session: columns.Session = None,
    categorical: columns.Categorical = None,
    numeric: columns.Numeric = None,
    format: Annotated[
        Literal["auto", "csv", "parquet", "jsonl", "arrow", "atomic", "movielens"],
        _reading("auto goes by the suffix."),
    ] = "auto",
    separator: Annotated[
        str | None, _reading("Field separator; default tab for .tsv, comma otherwise.")
    ] = None,
    no_header: Annotated[
        bool, _reading("No names in the file; columns are 0, 1, ...", "--no-header")
    ] = False,
    time_unit: Annotated[Literal["auto", "s", "ms", "us", "ns"], _reading("Unit of integer times.")] = "auto",
    tz: Annotated[str | None, _reading("Time zone of times that name none, for example UTC.")] = None,
    bad_rows: Annotated[
        Literal["fail", "quarantine", "drop"],
        _reading("Bad rows: stop, set aside in the store, or leave out."),
    ] = "fail",
    duplicates: Annotated[Literal["keep", "drop"], _reading("Exact repeats within the new logs.")] = "keep",
) -> None:
    """Add new logs to a store; users and items that it has keep their numbers. Ids are of the type of the store."""
    from usermodel.store.append import require_appendable
    from usermodel.store.sequence_store import SequenceStore

    opened = SequenceStore.open(store, verify=True)
    require_appendable(opened, out)
    options: dict[str, Any] = {
        "user": user, "item": item, "time": time, "event_type": event_type, "watch_time": watch_time,
        "duration": duration, "rating": rating, "label": label, "session": session,
        "categorical": columns.named(categorical, "--categorical"), "numeric": columns.named(numeric, "--numeric"),
        "format": format, "separator": separator, "has_header": not no_header,
        "id_type": opened.meta["user_type"], "time_unit": time_unit, "tz": tz, "bad_rows": bad_rows,
        "duplicates": duplicates,
    }  # fmt: skip
    _append(opened, logs, out, options, out or store)


def _append(store: Any, logs: list[str], out: Path | None, options: dict[str, Any], shown: Path) -> None:
    from usermodel.events.readers import read_events

    with common.progress("reading", "bytes") as update:
        log = read_events(logs, on_progress=common.with_rows(update), **options)
    new = store.append(log, out)
    # The manifest counts the rows of all logs.
    before = {"repeated_rows": 0} | store.meta
    rows = {name: count - before["rows"].get(name, 0) for name, count in new.meta["rows"].items()}
    common.say_rows(rows, new.meta["repeated_rows"] - before["repeated_rows"], options["bad_rows"])
    users, items, events = (
        new.n_users - store.n_users, new.n_items - store.n_items, new.n_events - store.n_events
    )  # fmt: skip
    common.say(f"added {events:,} events, {users:,} new users, {items:,} new items")
    common.say(f"{shown} holds {new.n_users:,} users, {new.n_items:,} items, {new.n_events:,} events")
