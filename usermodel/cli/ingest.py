"""usermodel ingest"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from usermodel.cli import columns, common

_COLUMNS, _READING, _ROWS, _TABLES = "Columns", "Reading", "Rows", "Side tables"


def _column(what: str) -> Any:
    return typer.Option(help=f"Column of the {what}.", rich_help_panel=_COLUMNS)


def _table(what: str) -> Any:
    return typer.Option(metavar="FILE", help=f"Parquet, CSV or atomic file: {what}.", rich_help_panel=_TABLES)


def _reading(text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=_READING)


def _rows(text: str, **more: Any) -> Any:
    return typer.Option(help=text, rich_help_panel=_ROWS, **more)


def ingest(
    logs: Annotated[
        list[str], typer.Argument(metavar="LOG...", help="Files, folders, globs or URLs.", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Store to write. Must not exist, unless --overwrite.", show_default=False
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
        Literal["auto", "csv", "parquet", "jsonl", "arrow", "atomic", "sequences", "pairs", "movielens"],
        _reading("auto goes by the suffix; sequences: 'user item item ...' per line, oldest first."),
    ] = "auto",
    separator: Annotated[
        str | None, _reading("Field separator; default tab for .tsv, comma otherwise.")
    ] = None,
    no_header: Annotated[
        bool, _reading("No names in the file; columns are 0, 1, ...", "--no-header")
    ] = False,
    id_type: Annotated[Literal["string", "int"], _reading("string keeps 007 and 7 apart.")] = "string",
    time_unit: Annotated[
        Literal["auto", "s", "ms", "us", "ns", "order"],
        _reading("Unit of integer times; order: they only say what came first."),
    ] = "auto",
    tz: Annotated[str | None, _reading("Time zone of times that name none, for example UTC.")] = None,
    bad_rows: Annotated[
        Literal["fail", "quarantine", "drop"], _rows("Bad rows: stop, set aside in the store, or leave out.")
    ] = "fail",
    duplicates: Annotated[
        Literal["keep", "drop"], _rows("Exact repeats of a row; counted either way.")
    ] = "keep",
    min_user_events: Annotated[int, _rows("k-core: events every user must keep.", min=1)] = 1,
    min_item_events: Annotated[int, _rows("k-core: events every item must keep.", min=1)] = 1,
    impressions: Annotated[Path | None, _table("items shown, clicked or not")] = None,
    labels: Annotated[Path | None, _table("labels with a prediction_time")] = None,
    items_table: Annotated[Path | None, _table("facts about items")] = None,
    users_table: Annotated[Path | None, _table("attributes of users")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be read, and write nothing.")
    ] = False,
    overwrite: common.Overwrite = False,
) -> None:
    """Turn logs into a store: memory-mapped sequences, one per user. Every row is accepted or accounted for."""
    options: dict[str, Any] = {
        "user": user, "item": item, "time": time, "event_type": event_type, "watch_time": watch_time,
        "duration": duration, "rating": rating, "label": label, "session": session,
        "categorical": columns.named(categorical, "--categorical"), "numeric": columns.named(numeric, "--numeric"),
        "format": format, "separator": separator, "has_header": not no_header,
        "id_type": id_type, "time_unit": time_unit, "tz": tz, "bad_rows": bad_rows, "duplicates": duplicates,
    }  # fmt: skip
    if dry_run:
        _show_plan(logs, options)
        return
    if out is None:
        raise typer.BadParameter("Name the store to write, or pass --dry-run.", param_hint="--out / -o")
    tables = {
        "impressions": impressions,
        "labels": labels,
        "items_table": items_table,
        "users_table": users_table,
    }
    given = {name: path for name, path in tables.items() if path is not None}
    core = {"min_user_events": min_user_events, "min_item_events": min_item_events}
    _build(logs, out, options, {**core, **given, "overwrite": overwrite})


def _build(logs: list[str], out: Path, options: dict[str, Any], rest: dict[str, Any]) -> None:
    from usermodel.events.readers import read_events
    from usermodel.manifest import refuse_existing
    from usermodel.store.build import build_store

    # Refuse before reading ten million rows, not after.
    refuse_existing(out, "store", rest["overwrite"])
    with common.progress("reading", "bytes") as update:
        log = read_events(logs, on_progress=common.with_rows(update), **options)
    with common.progress("building", "steps") as update:
        store = build_store(log, out, on_progress=update, **rest)
    common.say_rows(store.meta["rows"], store.meta.get("repeated_rows", 0), options["bad_rows"])
    common.print_k_core(store.meta["k_core"]["rounds"])
    common.say(f"wrote {store.n_users:,} users, {store.n_items:,} items, {store.n_events:,} events to {out}")
    common.say(f"next: usermodel pretrain {out} -o RUN")


def _show_plan(logs: list[str], options: dict[str, Any]) -> None:
    from usermodel.events.preview import preview

    plan = preview(logs, **options)
    files = [(str(path), kind, size) for path, kind, size in plan.files]
    common.print_table("Files, in reading order", ["file", "format", "bytes"], files)
    kinds = [(ours, theirs, plan.context.get(ours, "")) for ours, theirs in plan.columns.items()]
    common.print_table("Columns", ["ours", "theirs", "declared as"], kinds)
    common.results.print(f"Unit of time: {plan.time}")
    common.print_table(
        f"The first rows of {plan.files[0][0]}, after mapping", plan.rows.columns, plan.rows.rows()
    )
    common.results.print(f"{plan.bad:,} bad rows among the first {plan.read:,}; nothing was written")
