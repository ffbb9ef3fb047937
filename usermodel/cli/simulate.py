"""usermodel simulate"""

from __future__ import annotations

from typing import Annotated

import typer

from usermodel.cli import common


def simulate(
    out: common.Out,
    users: Annotated[int, typer.Option(help="Number of users.", min=1)] = 5000,
    items: Annotated[int, typer.Option(help="Number of items in the catalogue.", min=1)] = 2000,
    events: Annotated[
        int | None, typer.Option(help="Number of events. [default: 40 a user]", min=1, show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.", min=0)] = 0,
    overwrite: common.Overwrite = False,
) -> None:
    """Write realistic logs with planted truth: events, impressions, users, items (Parquet)."""
    from usermodel.config import validate
    from usermodel.events.simulate import SimulateConfig
    from usermodel.events.simulate import simulate as write

    events = events if events is not None else 40 * users
    config = validate(SimulateConfig, {"n_users": users, "n_items": items, "n_events": events, "seed": seed})
    with common.progress("simulating", "events") as update:
        path = write(config, out, overwrite=overwrite, on_progress=update)
    common.say(f"wrote {events:,} events of {users:,} users to {path}")
    common.say(f"next: usermodel ingest {path}/events.parquet -o STORE")
