"""The Arrow tables of a simulated log."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int32, Int64
from numpy import ndarray

from usermodel import schema
from usermodel.events import simulate_truth_tables
from usermodel.events.simulate_config import SimulateConfig
from usermodel.events.simulate_truth import NextItem
from usermodel.events.simulate_truth_tables import category_names
from usermodel.events.simulate_users import DEVICES, REGIONS, Users
from usermodel.events.simulate_walk import Rows
from usermodel.events.simulate_world import World, generator
from usermodel.schema import DURATION, EVENT_TYPE, ITEM, TIME, USER, WATCH_TIME

# fmt: off
_ADJECTIVES = (
    "quiet", "bright", "hidden", "early", "wild", "slow", "northern", "golden",
    "broken", "little", "last", "open", "distant", "paper", "silver", "honest",
)
# The first sixteen hint at the categories in their order, and so do the other sixteen.
_NOUNS = (
    "song", "stadium", "kitchen", "headline", "joke", "harbour", "orbit", "dungeon",
    "ribbon", "castle", "forest", "market", "camera", "needle", "garden", "engine",
    "chorus", "race", "spice", "witness", "stage", "island", "magnet", "quest",
    "mirror", "empire", "river", "ledger", "scene", "loom", "breath", "road",
)
# fmt: on


@dataclass
class Log:
    """All rows of a simulation, sorted by user and time, with the tables they refer to.

    Attributes:
        user: Index of the user of each impression.
        rows: Item, click, propensity and hidden state of each impression.
        times: Microseconds UTC of each impression.
        watch_ms: Watch time of each event (clicked impression).
        likes: Whether each event is a like.
        next_item: Scores of each user's last event.
    """

    config: SimulateConfig
    world: World
    users: Users
    user: Int32[ndarray, " impressions"]
    rows: Rows
    times: Int64[ndarray, " impressions"]
    watch_ms: Int64[ndarray, " events"]
    likes: Bool[ndarray, " events"]
    next_item: NextItem


def tables(log: Log) -> Iterator[tuple[str, pa.Table]]:
    """Every table with its path (without the suffix), one at a time, because the large ones take memory."""
    user_ids, item_ids = _ids("u", log.config.n_users, 6), _ids("i", log.config.n_items, 5)
    users, items = user_ids.take(pa.array(log.user)), item_ids.take(pa.array(log.rows.item))
    shown = pa.table(
        [users, items, log.times, log.rows.clicked, log.rows.propensity], schema=schema.impressions_schema()
    )
    yield "impressions", shown
    yield "events", _events(log, shown)
    del users, items, shown
    yield "truth/impressions", simulate_truth_tables.impressions_truth(log.rows, log.world)
    clicked = log.rows.clicked
    hidden = {
        "intent": log.rows.intent[clicked].astype(np.int64),
        "ends_session": log.rows.ends_session[clicked],
    }
    yield "truth/events", pa.table(hidden)
    yield "users", _users(log.users, user_ids)
    yield "items", _items(log, item_ids)
    yield "truth/users", simulate_truth_tables.users_truth(log.users, user_ids)
    yield "truth/items", simulate_truth_tables.items_truth(log.world, item_ids)
    yield "truth/next_item", simulate_truth_tables.next_item_truth(log.next_item, user_ids, item_ids)


def _users(users: Users, user_ids: pa.LargeStringArray) -> pa.Table:
    device = pa.array(DEVICES).take(pa.array(users.device))
    region = pa.array(REGIONS).take(pa.array(users.region))
    return pa.table({USER: user_ids, "device": device, "region": region, "age_band": users.age_band})


def _items(log: Log, item_ids: pa.LargeStringArray) -> pa.Table:
    category = pa.array(category_names(log.config.n_intents)).take(pa.array(log.world.category))
    title = _titles(log.config, log.world)
    return pa.table({ITEM: item_ids, "category": category, "title": title, DURATION: log.world.duration_ms})


def _ids(letter: str, n: int, width: int) -> pa.LargeStringArray:
    width = max(width, len(str(n - 1)))
    return pa.array([f"{letter}{number:0{width}d}" for number in range(n)], schema.id_type("string"))


def _events(log: Log, shown: pa.Table) -> pa.Table:
    events = shown.select([USER, ITEM, TIME]).filter(pa.array(log.rows.clicked))
    features = {
        EVENT_TYPE: pa.array(["play", "like"]).take(pa.array(log.likes.astype(np.int8))),
        WATCH_TIME: pa.array(log.watch_ms),
        DURATION: pa.array(log.world.duration_ms[log.rows.item[log.rows.clicked]]),
    }
    arrow = schema.events_schema(features=tuple(features))
    return pa.table([*events.columns, *features.values()], schema=arrow)


def _titles(config: SimulateConfig, world: World) -> list[str]:
    """``"quiet harbour, part 3"``: one name per series, with nouns that hint at the intent."""
    rng, n_series = generator(config, 2), int(world.series.max()) + 1
    adjective, noun = rng.integers(0, len(_ADJECTIVES), n_series), 16 * rng.integers(0, 2, n_series)
    return [
        f"{_ADJECTIVES[adjective[series]]} {_NOUNS[(intent + noun[series]) % len(_NOUNS)]}, part {episode + 1}"
        for series, intent, episode in zip(
            world.series.tolist(), world.intent.tolist(), world.episode.tolist(), strict=True
        )
    ]
