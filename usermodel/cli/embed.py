"""usermodel embed"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from usermodel.cli import common
from usermodel.cli import ids as ids_

_WHAT, _PRIVACY, _LOG = "What is embedded", "Privacy", "Reading a log that is no store"


def _what(text: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=_WHAT, **more)


def _log(what: str) -> Any:
    return typer.Option(help=what, rich_help_panel=_LOG, show_default=False)


def embed(
    run: common.RunPath,
    source: Annotated[
        str,
        typer.Argument(
            metavar="STORE|LOG",
            help="A store made by 'usermodel ingest'; or a log (Parquet, CSV, ...), which needs no store.",
            show_default=False,
        ),
    ],
    out: common.Out,
    users: Annotated[str | None, _what(ids_.HELP)] = None,
    as_of: Annotated[
        str | None,
        _what(
            "Everyone as they were then: 2025-06-30T00:00:00+00:00, or a number as in the store.",
            metavar="TIME",
        ),
    ] = None,
    since: Annotated[
        Path | None, _what("An earlier export: only users with new events are encoded.", metavar="EMB")
    ] = None,
    normalize: Annotated[bool, _what("Scale vectors to length 1.", "--normalize")] = False,
    format: Annotated[
        Literal["parquet", "npy", "safetensors"] | None,
        typer.Option(help="Format inside a folder.", show_default="parquet"),
    ] = None,
    dtype: Annotated[
        Literal["float32", "float16", "int8"],
        typer.Option(help="How vectors are stored; what that costs is measured and printed."),
    ] = "float32",
    ids: Annotated[
        Literal["raw", "hmac"],
        typer.Option(help="User ids as they are, or pseudonyms made with --key.", rich_help_panel=_PRIVACY),
    ] = "raw",
    key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File with the key of --ids hmac.", rich_help_panel=_PRIVACY),
    ] = None,
    processes: Annotated[int, typer.Option(help="Processes that encode.", min=1)] = 1,
    batch_events: Annotated[int, typer.Option(help="Events per forward pass, about.", min=1)] = 8192,
    device: Annotated[str, typer.Option(help="Where to compute, such as cuda.")] = "cpu",
    user: Annotated[str | None, _log("Column of the user ids.")] = None,
    item: Annotated[str | None, _log("Column of the item ids.")] = None,
    time: Annotated[str | None, _log("Column of the times.")] = None,
    event_type: Annotated[str | None, _log("Column of the event types.")] = None,
    watch_time: Annotated[str | None, _log("Column of the watch times, in milliseconds.")] = None,
    log_format: Annotated[str | None, _log("As --format of 'usermodel ingest'.")] = None,
    time_unit: Annotated[str | None, _log("Unit of integer times: s, ms, us, ns or order.")] = None,
    tz: Annotated[str | None, _log("Time zone of times that name none, for example UTC.")] = None,
    allow_module: common.AllowModule = None,
    overwrite: common.Overwrite = False,
) -> None:
    """Export user embeddings, keyed by your ids. A name with a suffix is one file; a folder also holds the item vectors."""
    from usermodel.embeddings.files import KIND
    from usermodel.embeddings.user_encoder import UserEncoder
    from usermodel.manifest import refuse_existing

    refuse_existing(out, KIND, overwrite)
    encoder = UserEncoder.load(run, device=device, allow_modules=allow_module or ())
    columns = {"user": user, "item": item, "time": time, "event_type": event_type, "watch_time": watch_time}
    reading = {**columns, "format": log_format, "time_unit": time_unit, "tz": tz}
    opened = _open(source)
    options: dict[str, Any] = {
        "as_of": as_of, "since": since, "normalize": normalize, "format": format, "dtype": dtype, "ids": ids, "key": key,
        "processes": processes, "batch_events": batch_events,
    }  # fmt: skip
    with common.progress("embedding", "users") as update:
        done = encoder.export(
            opened,
            out,
            users=_users(users, opened, encoder),
            overwrite=overwrite,
            on_progress=update,
            reading={name: value for name, value in reading.items() if value is not None},
            **options,
        )
    _tell(done.meta, encoder.n_unknown_items(opened) if hasattr(opened, "n_items") else None)
    if since is not None:
        common.say(f"encoded {done.n_encoded:,} users with new events; the others are as in {since}")
    common.say(f"wrote {done.n_users:,} user vectors of width {done.meta['dim']} to {out}")


def _open(source: str) -> Any:
    """A store, every byte of it checked, or a log folder; anything else is left for the encoder to read."""
    from usermodel import manifest
    from usermodel.events.event_log import KIND as LOG
    from usermodel.events.event_log import EventLog
    from usermodel.store.sequence_store import KIND, SequenceStore

    if not source or not (Path(source) / manifest.NAME).is_file():
        return source
    kind = manifest.read(source).kind
    if kind == KIND:
        return SequenceStore.open(source, verify=True)
    return EventLog.open(source) if kind == LOG else source


def _users(given: str | None, opened: Any, encoder: Any) -> Any:
    if given is None:
        return None
    users = getattr(opened, "users", None)
    if users is not None:
        return ids_.read_ids(given, users.kind, known=users.ids)
    # Files are read with users of the type of the items.
    return ids_.read_ids(given, getattr(opened, "user_type", encoder.vocabulary.kind))


def _tell(meta: dict[str, Any], n_unknown_items: int | None) -> None:
    """What was skipped, and what the type of the file has cost."""
    if meta["n_unknown"]:
        what = "their items" if n_unknown_items is None else f"{n_unknown_items:,} items"
        common.say(
            f"skipped {meta['n_unknown']:,} of {meta['n_events']:,} events: the encoder does not know {what}"
        )
    if meta["n_cold"]:
        which = "other events" if meta["n_unknown"] else "events"
        when = "" if meta["as_of"] is None else " before that time"
        common.say(f"{meta['n_cold']:,} users have no {which}{when}; their vectors are zeros")
    if loss := meta.get("loss"):
        mean = "" if loss["mean_cosine"] is None else f", in the mean {loss['mean_cosine']:.6f}"
        common.say(
            f"{meta['dtype']} costs a relative error of at most {loss['max_relative_error']:.2g} a vector "
            f"(cosine at least {loss['min_cosine']:.6f}{mean})"
        )
        if loss["rows_carried"]:
            common.say(
                f"of {loss['rows_carried']:,} copied vectors these bounds are those of the earlier export"
                + ("; the mean leaves them out" if mean else "")
            )
