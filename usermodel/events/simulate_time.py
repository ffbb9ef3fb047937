"""When impressions happened and how long the clicked ones were watched."""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray

from usermodel.events.simulate_config import SimulateConfig
from usermodel.events.simulate_walk import Rows
from usermodel.events.simulate_world import World, sigmoid
from usermodel.schema import DAY

#: 2024-01-01 00:00 UTC in microseconds.
EPOCH_US: Final = 1_704_067_200_000_000
_PAUSE_US: Final = 1_800_000_000
#: Relative number of sessions that begin in each hour of the day: quiet nights, a peak in the evening.
_HOURS: Final = np.array([3, 2, 1, 1, 1, 1, 2, 4, 5, 5, 5, 5, 6, 6, 5, 5, 6, 7, 9, 11, 12, 11, 8, 5])
#: Wider than any user's stretch of time in microseconds; 2 ** 15 users fit into an int64.
_USER_US: Final = 1 << 47

#: Log-odds of watching to the end: a foreign intent at the reference length; gain of a match; loss per unit of log length.
FULL_BIAS: Final = -1.0
FULL_MATCH: Final = 1.4
FULL_LENGTH: Final = 0.4
REFERENCE_MS: Final = 60_000
#: Share watched by those who stop early: Beta(a, b), for foreign and matching intents.
EARLY: Final = ((0.8, 2.4), (1.6, 1.6))
#: Probability that a click becomes a like, for foreign and matching intents.
LIKE: Final = (0.02, 0.25)


def full_watch_rate(world: World) -> Float64[ndarray, "2 items"]:
    """Probability that a clicked item is watched to the end, for foreign (row 0) and matching (row 1) intents."""
    length = np.log(world.duration_ms / REFERENCE_MS)
    return sigmoid(FULL_BIAS + FULL_MATCH * np.arange(2)[:, None] - FULL_LENGTH * length)


def expected_watch_ms(world: World) -> Float64[ndarray, "2 items"]:
    """Mean watch time of a clicked item in milliseconds, for foreign and matching intents (before rounding to 1 ms)."""
    full = full_watch_rate(world)
    early = np.array([[a / (a + b)] for a, b in EARLY])
    return np.asarray((full + (1.0 - full) * early) * world.duration_ms)


def watch(world: World, item: ndarray, matches: ndarray, rng: np.random.Generator) -> tuple[ndarray, ndarray]:
    """Watch time in milliseconds and whether it became a like, for clicked ``item`` with intent ``matches``."""
    row = matches.astype(np.int64)
    full = rng.random(len(item)) < full_watch_rate(world)[row, item]
    a, b = np.array(EARLY)[row].T
    share = np.where(full, 1.0, rng.beta(a, b))
    likes = rng.random(len(item)) < np.array(LIKE)[row]
    return np.rint(share * world.duration_ms[item]).astype(np.int64), likes


def timestamps(
    rows: Rows, watch_ms: Int64[ndarray, " events"], config: SimulateConfig, rng: np.random.Generator
) -> Int64[ndarray, " impressions"]:
    """Microseconds UTC, strictly increasing within a user.

    Sessions begin at random days and at hours that follow a daily rhythm; one that would overlap the session before is
    pushed back to half an hour after it. Within a session an item follows the one before after its watch time and
    1 to 8 seconds of browsing.
    """
    new_user = np.diff(rows.user, prepend=-1).astype(np.int64) != 0
    starts = new_user | np.append(False, rows.ends_session[:-1])
    session = np.cumsum(starts) - 1
    step = rng.integers(1_000_000, 8_000_000, len(starts))
    step[np.flatnonzero(rows.clicked[:-1]) + 1] += watch_ms[: int(rows.clicked[:-1].sum())] * 1_000
    elapsed = np.cumsum(step)
    first = np.flatnonzero(starts)
    # The watch time before a session's first row belongs to the session before.
    offset = elapsed - elapsed[first][session]
    tail = np.append(elapsed[first[1:]], elapsed[-1] + _PAUSE_US) - elapsed[first]
    begin = _session_starts(rows.user[first].astype(np.int64), tail + _PAUSE_US, new_user[first], config, rng)
    return np.asarray(EPOCH_US + begin[session] + offset)


def _session_starts(
    user: Int64[ndarray, " sessions"],
    length: Int64[ndarray, " sessions"],
    new_user: Bool[ndarray, " sessions"],
    config: SimulateConfig,
    rng: np.random.Generator,
) -> Int64[ndarray, " sessions"]:
    """Microseconds since the epoch of the simulation; sessions of one user lie at least ``length`` apart."""
    n = len(user)
    hour = np.searchsorted(np.cumsum(_HOURS), rng.integers(0, _HOURS.sum(), n), side="right")
    wanted = rng.integers(0, config.n_days, n) * DAY + hour * (DAY // 24) + rng.integers(0, DAY // 24, n)
    # Users are contiguous, so one sort over (user, time) leaves every user's sessions in their rows.
    wanted = np.sort(user * _USER_US + wanted)
    before = np.cumsum(length) - length
    before -= before[new_user][np.cumsum(new_user) - 1]
    # start[j] = max over i <= j of wanted[i] + length[i] + ... + length[j - 1], within the user.
    pushed: Int64[ndarray, " sessions"] = np.maximum.accumulate(wanted - before) + before
    return np.asarray(pushed - user * _USER_US)
