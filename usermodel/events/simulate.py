"""Simulated logs with planted truth, good enough that methods can be told apart on them.

The world in ten lines. Items belong to one latent intent and to a series; they have a Zipf popularity, an appeal, a
duration, a category that mostly follows the intent, and a title. Users hold a few intents; one is active at a time, and
it drifts after events, mostly to the next one held in the order of a ring, more so between sessions. The platform shows
items by popularity, by popularity within the category of the last click or within the user's interests, the next of the
series, and a few at random, never an item clicked before. A click depends on whether the item's intent is the active
one, on its appeal, and on being the next of the series. It does not depend on popularity: popular items are clicked
because they are shown, so clicks are missing not at random. Watch time depends on match and duration, with the usual
spike at the full length. Device, region and age band depend on preferences.

What can be told apart: popularity knows exposure only; order-blind neighbours know which intents a user holds; order
tells the active intent, the intent that follows it for this user, and the next of the series; `simulate_truth` bounds
what any model can reach.

What can be estimated without bias: the manifest's ``truth.mean_relevance`` is the click probability averaged over all
items that the user has not clicked yet, then over impressions. ``clicked.mean()`` is far above it, and the mean of
``clicked / (propensity * number of items not clicked yet)`` is on it.

Output folder (kind ``simulated-logs``), all ids strings, times int64 microseconds UTC:

- ``events.parquet``: user_id item_id timestamp event_type watch_time_ms duration_ms; sorted by user, then time.
- ``impressions.parquet``: user_id item_id timestamp clicked propensity; its clicked rows are the events, in order.
- ``users.parquet``: user_id device region age_band (0..4). ``items.parquet``: item_id category title duration_ms.
- ``truth/impressions.parquet``, row by row with the impressions: p_click, expected_watch_time_ms (given a click), intent
  (the active one), is_next. ``truth/events.parquet``, row by row with the events: intent, ends_session.
- ``truth/users.parquet``: user_id, intent (the most preferred), held, preferences. ``truth/items.parquet``: item_id intent
  series episode next_item_id popularity appeal. ``truth/model.json``: all other parameters, and the formulas.
- ``truth/next_item.parquet``: of each user's last event item_id, probability, rank, top_item_ids, top_probabilities.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from usermodel import manifest
from usermodel.events import simulate_time, simulate_truth
from usermodel.events.parquet import write_parquet
from usermodel.events.simulate_config import SimulateConfig, check
from usermodel.events.simulate_exposure import block_users
from usermodel.events.simulate_tables import Log, tables
from usermodel.events.simulate_truth_tables import model
from usermodel.events.simulate_users import Users, make_users
from usermodel.events.simulate_walk import Rows, Walk
from usermodel.events.simulate_world import World, generator, make_world

__all__ = ["KIND", "SimulateConfig", "simulate"]

KIND: Final = "simulated-logs"
_BLOCK_STREAM: Final = 3


def simulate(
    config: SimulateConfig,
    out: str | Path,
    *,
    overwrite: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a simulated log with its truth; same config, same bytes.

    Args:
        config: Size, shape and seed of the world.
        out: Folder to create.
        overwrite: Replace a simulated log that is already there.
        on_progress: Called now and then with (events simulated so far, events in total).

    Returns:
        The folder.

    Raises:
        ConfigError: Parameters that are impossible together.
        OutputExistsError: ``out`` exists and ``overwrite`` is off.
    """
    check(config)
    with manifest.write_directory(out, KIND, overwrite=overwrite) as draft:
        log = _run(config, on_progress or _silent)
        (draft.path / "truth").mkdir()
        for name, table in tables(log):
            write_parquet(table, draft.path / f"{name}.parquet")
        text = json.dumps(model(config), indent=1, sort_keys=True) + "\n"
        (draft.path / "truth" / "model.json").write_text(text, encoding="utf-8")
        draft.meta.update(
            config=config.to_dict(),
            n_users=config.n_users,
            n_items=config.n_items,
            n_events=config.n_events,
            n_impressions=len(log.user),
            truth=_summary(log),
        )
    return Path(out)


def _silent(done: int, total: int) -> None:
    """Report to nobody."""
    del done, total


def _run(config: SimulateConfig, on_progress: Callable[[int, int], None]) -> Log:
    world, users, done, size = make_world(config), make_users(config), 0, block_users(config)

    def report(more: int) -> None:
        nonlocal done
        done += more
        on_progress(done, config.n_events)

    blocks = [
        _block(config, world, users, slice(start, start + size), report)
        for start in range(0, config.n_users, size)
    ]
    owner, rows, times, watch_ms, likes, scores = zip(*blocks, strict=True)
    return Log(
        config=config,
        world=world,
        users=users,
        user=np.concatenate(owner),
        rows=simulate_truth.join(list(rows)),
        times=np.concatenate(times),
        watch_ms=np.concatenate(watch_ms),
        likes=np.concatenate(likes),
        next_item=simulate_truth.join(list(scores)),
    )


def _block(
    config: SimulateConfig, world: World, users: Users, part: slice, report: Callable[[int], None]
) -> tuple[ndarray, Rows, ndarray, ndarray, ndarray, simulate_truth.NextItem]:
    """Simulate some users; their random numbers depend on nobody else's."""
    rng = generator(config, _BLOCK_STREAM, part.start)
    mine = Users(**{field.name: getattr(users, field.name)[part] for field in fields(Users)})
    walk = Walk(config, world, mine, rng)
    rows = walk.run(report)
    item = rows.item[rows.clicked]
    watch_ms, likes = simulate_time.watch(world, item, world.intent[item] == rows.intent[rows.clicked], rng)
    times = simulate_time.timestamps(rows, watch_ms, config, rng)
    scores = simulate_truth.next_item(walk, rows)
    return rows.user.astype(np.int32) + part.start, rows, times, watch_ms, likes, scores


def _summary(log: Log) -> dict[str, Any]:
    """Numbers that an estimate from the log can be held against; rounded, see `simulate_world`."""
    rank = log.next_item.rank
    values = {
        "bayes_hit@10": (rank <= 10).mean(),
        "bayes_ndcg@10": np.where(rank <= 10, 1.0 / np.log2(1.0 + rank), 0.0).mean(),
        "click_rate": log.rows.clicked.mean(),
        "mean_relevance": log.rows.relevance.mean(dtype=np.float64),
    }
    return {name: round(float(value), 9) for name, value in values.items()}
