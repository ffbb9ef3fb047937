"""The Arrow tables of what a simulation planted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float64
from numpy import ndarray

from usermodel.events import simulate_time
from usermodel.events.simulate_config import SimulateConfig
from usermodel.events.simulate_truth import NextItem
from usermodel.events.simulate_users import Users
from usermodel.events.simulate_walk import Rows
from usermodel.events.simulate_world import World
from usermodel.schema import ITEM, USER

# fmt: off
_CATEGORIES = (
    "music", "sport", "cooking", "news", "comedy", "travel", "science", "gaming",
    "fashion", "history", "nature", "finance", "film", "crafts", "health", "cars",
)
# fmt: on


def users_truth(users: Users, user_ids: pa.LargeStringArray) -> pa.Table:
    """What users hold and prefer, and the laws of what is visible of them."""
    preferences, held = users.preferences, users.held
    return pa.table(
        {
            USER: user_ids,
            "intent": preferences.argmax(1),
            "held": pa.FixedSizeListArray.from_arrays(pa.array(held.ravel()), held.shape[1]),
            "preferences": _rows(preferences),
            "p_device": _rows(users.device_law),
            "p_region": _rows(users.region_law),
            "age_score": users.age_score,
        }
    )


def _rows(values: Float64[ndarray, "rows columns"]) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


def impressions_truth(rows: Rows, world: World) -> pa.Table:
    """Best click and watch-time predictions, in the rows of the impressions."""
    matches = (world.intent[rows.item] == rows.intent).astype(np.int8)
    chance = world.click[rows.is_next.astype(np.int8), matches, rows.item]
    watch = simulate_time.expected_watch_ms(world)[matches, rows.item]
    return pa.table(
        {
            "p_click": chance.astype(np.float32),
            "expected_watch_time_ms": watch.astype(np.float32),
            "intent": rows.intent.astype(np.int64),
            "is_next": rows.is_next,
        }
    )


def items_truth(world: World, item_ids: pa.LargeStringArray) -> pa.Table:
    """Intent, series, successor, popularity and appeal of each item."""
    has_next = world.successor >= 0
    return pa.table(
        {
            ITEM: item_ids,
            "intent": world.intent,
            "series": world.series,
            "episode": world.episode,
            "next_item_id": item_ids.take(pa.array(world.successor, mask=~has_next)),
            "popularity": world.popularity,
            "appeal": world.appeal,
        }
    )


def next_item_truth(
    scores: NextItem, user_ids: pa.LargeStringArray, item_ids: pa.LargeStringArray
) -> pa.Table:
    """The best scores of each user's last event."""
    k = scores.top_items.shape[1]
    return pa.table(
        {
            USER: user_ids,
            ITEM: item_ids.take(pa.array(scores.target)),
            "probability": scores.probability,
            "rank": scores.rank,
            "top_item_ids": pa.FixedSizeListArray.from_arrays(
                item_ids.take(pa.array(scores.top_items.ravel())), k
            ),
            "top_probabilities": pa.FixedSizeListArray.from_arrays(
                pa.array(scores.top_probabilities.ravel()), k
            ),
        }
    )


def model(config: SimulateConfig) -> dict[str, Any]:
    """The constants that are no parameters, and the formulas, for ``truth/model.json``."""
    return {
        "config": config.to_dict(),
        "watch_time": {
            "p_full": "sigmoid(full_bias + full_match * match - full_length * log(duration_ms / reference_ms))",
            "full_bias": simulate_time.FULL_BIAS,
            "full_match": simulate_time.FULL_MATCH,
            "full_length": simulate_time.FULL_LENGTH,
            "reference_ms": simulate_time.REFERENCE_MS,
            "else": "duration_ms * Beta(a, b), [a, b] by match",
            "early": simulate_time.EARLY,
        },
        "p_like": simulate_time.LIKE,
        "match": "1 if the intent of the item is the active intent of the user, else 0",
        "is_next": "1 if the item is next_item_id of the user's last click, else 0",
        "p_click": "sigmoid(click_bias + match_effect * match + appeal + next_effect * is_next)",
        "propensity": "n * is_next + (1 - n) * b(item) / (1 - sum of b over the items clicked before); "
        "n = next_share if next_item_id of the last click exists and was not clicked before, else 0",
        "b": "(1 - r - t) * general + r * own * [category is that of the last click] "
        "+ t * own * [category is one of the intents held] / user_intents; "
        "r = related_share / (1 - next_share), before the first click 0; t = taste_share / (1 - next_share)",
        "general": "(p * popularity + explore_share / n_items) / (p + explore_share); "
        "p = 1 - explore_share - related_share - taste_share - next_share",
        "own": "popularity / sum of popularity in the category of the item",
        "categories": category_names(config.n_intents),
        "session": "after every event the session ends with probability 1 / session_events",
        "drift": "after every event, with probability session_drift if the session ends, else drift, the active intent moves: "
        "with probability directed to the next intent held in the order of the ring, else to a draw from preferences",
    }


def category_names(n: int) -> list[str]:
    """Names of the categories, in the order of the intents."""
    return [_CATEGORIES[k] if k < len(_CATEGORIES) else f"topic {k}" for k in range(n)]
