"""The best possible scores of the planted world.

*What "Bayes-optimal" means here.* The next clicked item of a user is scored by its true probability given everything
the world knew right after the user's last event but one: all earlier clicks, the **true active intent** at that event,
the user's true preferences, and all parameters. What lies after it is integrated out: whether the session ends, whether
and where the intent drifts, and all impressions up to the next click. A model that sees only the log has to guess the
intent and the preferences, so these scores are an upper bound: in expectation no such model ranks better, and the best
filter of the visible history ranks somewhat worse. Click probabilities are meant in the same way, given the true active
intent at the impression.

*The formula.* Between two clicks the active intent s and the policy pi (`simulate_exposure`) stand still, so impressions
are independent draws until one is clicked, and the first clicked item is i with probability
``pi[i] * c[s, i] / sum_j pi[j] * c[s, j]`` where c is the click probability. The score is the mean of that over
``T[u, s]``, the distribution of the intent after the last event but one:

    T[u, s] = (1 - d) [s = s0] + d (directed [s = following held intent] + (1 - directed) preferences[u, s])
    d = drift + (session_drift - drift) / session_events
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from typing import TypeVar

import numpy as np
from jaxtyping import Float32, Float64, Int64
from numpy import ndarray

from usermodel.events.simulate_walk import Rows, Walk

TOP_K = 20
_CHUNK = 1 << 18
_MAX_THREADS = 4


@dataclass
class NextItem:
    """Bayes-optimal scores of each user's last event.

    Attributes:
        target: Index of the item that was clicked.
        probability: Its probability.
        rank: 1 + the number of items with a higher one, among all items that the user had not clicked before.
        top_items: Indices of the most probable items, best first.
        top_probabilities: Their probabilities.
    """

    target: Int64[ndarray, " users"]
    probability: Float32[ndarray, " users"]
    rank: Int64[ndarray, " users"]
    top_items: Int64[ndarray, "users top"]
    top_probabilities: Float32[ndarray, "users top"]


def next_item(walk: Walk, rows: Rows) -> NextItem:
    """Score every item for the last event of every user of a finished block."""
    config, n_users = walk.config, len(walk.before_last)
    events = rows.item[rows.clicked]
    last = np.cumsum(walk.users.n_events) - 1
    target, previous = events[last], events[last - 1]
    walk.exposure.rewind(target, previous)
    intent = _next_intent(walk)
    size = max(1, _CHUNK // config.n_items)
    chunks = [np.arange(start, min(start + size, n_users)) for start in range(0, n_users, size)]
    # numpy lets go of the interpreter inside these large operations; results do not depend on the number of threads.
    with ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1)) as pool:
        return join(list(pool.map(partial(_score, walk, intent, target), chunks)))


def _next_intent(walk: Walk) -> Float64[ndarray, "users intents"]:
    """T of the module docstring: the distribution of the active intent after the last event but one."""
    config, k = walk.config, walk.config.n_intents
    drift = config.drift + (config.session_drift - config.drift) / config.session_events
    following = walk.users.following[np.arange(len(walk.before_last)), walk.before_last]
    stays, follows = np.eye(k)[walk.before_last], np.eye(k)[following]
    jumps = config.directed * follows + (1.0 - config.directed) * walk.users.preferences
    return np.asarray((1.0 - drift) * stays + drift * jumps)


def _score(
    walk: Walk,
    intent: Float64[ndarray, "users intents"],
    target: Int64[ndarray, " users"],
    user: Int64[ndarray, " chunk"],
) -> NextItem:
    row, successor = np.arange(len(user)), walk.exposure.successor[user]
    shown = walk.exposure.distribution(user)
    clicks, clicks_next = _click_rates(walk, shown, successor)
    weight = intent[user] / clicks
    # c[s, i] takes two values, so the mean over s is no matrix product: gather the weight of the item's own intent.
    probability = weight[:, walk.world.intent]
    probability *= walk.gain
    probability += weight.sum(1)[:, None] * walk.foreign
    probability *= shown
    probability[row, successor] += (weight * clicks_next).sum(1)
    k = min(TOP_K, walk.config.n_items // 2)
    top = np.argpartition(probability, -k, axis=1)[:, -k:]
    top = np.take_along_axis(
        top, np.argsort(-np.take_along_axis(probability, top, 1), axis=1, kind="stable"), 1
    )
    own = probability[row, target[user]]
    return NextItem(
        target=target[user],
        # float32 hides the last bits, which depend on the order in which the processor adds.
        probability=own.astype(np.float32),
        rank=1 + (probability > own[:, None]).sum(1),
        top_items=top,
        top_probabilities=np.take_along_axis(probability, top, 1).astype(np.float32),
    )


def _click_rates(
    walk: Walk, shown: Float64[ndarray, "chunk items"], successor: Int64[ndarray, " chunk"]
) -> tuple[Float64[ndarray, "chunk intents"], Float64[ndarray, "chunk intents"]]:
    """Probability that an impression is clicked under each intent, and what of it the successor's own rate adds."""
    click, intent, k = walk.world.click, walk.world.intent, walk.config.n_intents
    order = np.argsort(intent, kind="stable")
    matching = np.add.reduceat(
        np.take(shown * walk.gain, order, 1), np.searchsorted(intent[order], np.arange(k)), axis=1
    )
    foreign = np.einsum("ui,i->u", shown, walk.foreign)
    matches = (intent[successor][:, None] == np.arange(k)).astype(np.int64)
    bonus = (click[1] - click[0])[matches, successor[:, None]]
    bonus *= (shown[np.arange(len(shown)), successor] * (successor >= 0))[:, None]
    return matching + foreign[:, None] + bonus, bonus


Table = TypeVar("Table", NextItem, Rows)


def join(parts: list[Table]) -> Table:
    """One table out of the tables of several groups of users."""
    kind = type(parts[0])
    return kind(
        **{
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(kind)
        }
    )
