"""usermodel simulate"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from usermodel.cli import common

if TYPE_CHECKING:
    from usermodel.errors import ConfigError

_OPTIONS: Final = {"n_users": "--users", "n_items": "--items", "n_events": "--events"}


def simulate(
    out: common.Out,
    users: Annotated[int, typer.Option(help="Number of users.", min=1, max=10_000_000)] = 5000,
    items: Annotated[
        int, typer.Option(help="Number of items in the catalogue.", min=48, max=1_000_000)
    ] = 2000,
    events: Annotated[
        int | None, typer.Option(help="Number of events.", min=1, show_default="40 a user")
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.", min=0)] = 0,
    overwrite: common.Overwrite = False,
) -> None:
    """Write realistic logs with planted truth: events, impressions, users, items (Parquet)."""
    from usermodel.config import validate
    from usermodel.errors import ConfigError
    from usermodel.events.simulate import SimulateConfig
    from usermodel.events.simulate import simulate as write

    events = events if events is not None else 40 * users
    config = validate(SimulateConfig, {"n_users": users, "n_items": items, "n_events": events, "seed": seed})
    try:
        with common.progress("simulating", "events") as update:
            path = write(config, out, overwrite=overwrite, on_progress=update)
    except ConfigError as error:
        raise _as_typed(error) from None
    common.say(f"wrote {events:,} events of {users:,} users to {path}")
    common.say(f"next: usermodel ingest {path}/events.parquet -o STORE")


def _as_typed(error: ConfigError) -> ConfigError:
    """The error with the names of the options in place of those of the configuration."""
    where, do = error.where, error.do
    for name, option in _OPTIONS.items():
        where, do = where.replace(name, option), do.replace(name, option)
    return type(error)(where, expected=error.expected, found=error.found, do=do)
