"""usermodel ingest"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from usermodel.cli import common

_COLUMNS = "Columns"
_READING = "Reading"
_FILTERS = "Filters"


def ingest(
    logs: Annotated[
        list[str],
        typer.Argument(
            metavar="LOG...", help="Files or globs: CSV, TSV, Parquet, or user sequences.", show_default=False
        ),
    ],
    out: common.Out,
    user: Annotated[str, typer.Option(help="Column of the user ids.", rich_help_panel=_COLUMNS)] = "user_id",
    item: Annotated[str, typer.Option(help="Column of the item ids.", rich_help_panel=_COLUMNS)] = "item_id",
    time: Annotated[str, typer.Option(help="Column of the times.", rich_help_panel=_COLUMNS)] = "timestamp",
    event_type: Annotated[
        str | None, typer.Option(help="Column of the event types.", rich_help_panel=_COLUMNS)
    ] = None,
    watch_time: Annotated[
        str | None, typer.Option(help="Column of the watch times, in milliseconds.", rich_help_panel=_COLUMNS)
    ] = None,
    duration: Annotated[
        str | None,
        typer.Option(help="Column of the item durations, in milliseconds.", rich_help_panel=_COLUMNS),
    ] = None,
    rating: Annotated[
        str | None, typer.Option(help="Column of the ratings.", rich_help_panel=_COLUMNS)
    ] = None,
    format: Annotated[
        Literal["auto", "csv", "parquet", "sequences"],
        typer.Option(
            help="auto goes by the suffix; sequences: 'user item item ...' per line, oldest first.",
            rich_help_panel=_READING,
        ),
    ] = "auto",
    separator: Annotated[
        str | None,
        typer.Option(
            help="Field separator; default tab for .tsv, comma otherwise.", rich_help_panel=_READING
        ),
    ] = None,
    no_header: Annotated[
        bool,
        typer.Option(
            "--no-header", help="No column names in the file; columns are 0, 1, ...", rich_help_panel=_READING
        ),
    ] = False,
    id_type: Annotated[
        Literal["string", "int"], typer.Option(help="string keeps 007 and 7 apart.", rich_help_panel=_READING)
    ] = "string",
    time_unit: Annotated[
        Literal["auto", "s", "ms", "us", "ns", "order"],
        typer.Option(
            help="Unit of integer times; order: they only say what came first.", rich_help_panel=_READING
        ),
    ] = "auto",
    tz: Annotated[
        str | None,
        typer.Option(help="Time zone of times that name none, for example UTC.", rich_help_panel=_READING),
    ] = None,
    min_user_events: Annotated[
        int, typer.Option(help="k-core: events every user must keep.", min=1, rich_help_panel=_FILTERS)
    ] = 1,
    min_item_events: Annotated[
        int, typer.Option(help="k-core: events every item must keep.", min=1, rich_help_panel=_FILTERS)
    ] = 1,
    overwrite: common.Overwrite = False,
) -> None:
    """Turn logs into a store: memory-mapped sequences, one per user."""
    from usermodel.events.readers import read_events
    from usermodel.store.build import build_store

    _must_be_free(out, overwrite)
    log = read_events(
        logs,
        user=user,
        item=item,
        time=time,
        event_type=event_type,
        watch_time=watch_time,
        duration=duration,
        rating=rating,
        format=format,
        separator=separator,
        has_header=not no_header,
        id_type=id_type,
        time_unit=time_unit,
        tz=tz,
    )
    store = build_store(
        log, out, min_user_events=min_user_events, min_item_events=min_item_events, overwrite=overwrite
    )
    rows = store.meta["rows"]
    common.say(
        f"read {rows['read']:,} rows = accepted {rows['accepted']:,} + filtered by k-core {rows['filtered_by_k_core']:,}"
    )
    common.say(f"wrote {store.n_users:,} users, {store.n_items:,} items, {store.n_events:,} events to {out}")
    common.say(f"next: usermodel pretrain {out} -o RUN")


def _must_be_free(out: Path, overwrite: bool) -> None:
    """Refuse before reading ten million rows, not after."""
    from usermodel.manifest import refuse_existing

    refuse_existing(out, "store", overwrite)
