"""The planted users: the intents they hold, the attributes that depend on them, how much they do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, UInt8
from numpy import ndarray

from usermodel.events.simulate_config import SimulateConfig
from usermodel.events.simulate_world import generator

DEVICES = ("phone", "tablet", "television")
REGIONS = ("north", "east", "south", "west", "centre")
N_AGE_BANDS = 5
_UNHELD_SHARE = 0.02


@dataclass(frozen=True)
class Users:
    """Preferences over intents, attributes that depend on them, and history lengths.

    Attributes:
        preferences: Rows sum to 1.
        held: The intents that the user holds, in ascending order.
        following: The next held intent after each intent in the order of the ring, by user; the intent itself where it
            is the only one held.
        device_law: Probabilities that the device was drawn from: the best prediction there is.
        region_law: The same of the region.
        age_score: Expected place of the age band, before chance: the best order of users there is.
        n_events: History lengths.
    """

    preferences: Float64[ndarray, "users intents"]
    held: Int64[ndarray, "users held"]
    following: UInt8[ndarray, "users intents"]
    device: Int64[ndarray, " users"]
    region: Int64[ndarray, " users"]
    age_band: Int64[ndarray, " users"]
    device_law: Float64[ndarray, "users devices"]
    region_law: Float64[ndarray, "users regions"]
    age_score: Float64[ndarray, " users"]
    n_events: Int64[ndarray, " users"]


def make_users(config: SimulateConfig) -> Users:
    """Draw preferences, then attributes from them, and history lengths on their own."""
    rng, (n, k) = generator(config, 1), (config.n_users, config.n_intents)
    held = rng.random((n, k)).argpartition(config.user_intents - 1, axis=1)[:, : config.user_intents]
    # Partitioning promises no order within the part, and processors differ in it.
    held = np.sort(held, axis=1)
    weights = rng.standard_exponential((n, config.user_intents)) + 0.1
    preferences = np.full((n, k), _UNHELD_SHARE / k)
    shares = weights / weights.sum(1, keepdims=True)
    np.put_along_axis(preferences, held, (1.0 - _UNHELD_SHARE) * shares + _UNHELD_SHARE / k, axis=1)
    device, device_law = _categorical(preferences, len(DEVICES), config.attribute_strength, rng)
    region, region_law = _categorical(preferences, len(REGIONS), config.attribute_strength, rng)
    age_band, age_score = _ordinal(preferences, config.attribute_strength, rng)
    return Users(
        preferences=preferences,
        held=held,
        following=_following(held, k),
        device=device,
        region=region,
        age_band=age_band,
        device_law=device_law,
        region_law=region_law,
        age_score=age_score,
        n_events=_lengths(config, rng),
    )


def _following(held: Int64[ndarray, "users held"], n_intents: int) -> UInt8[ndarray, "users intents"]:
    distance = np.full((len(held), n_intents), n_intents, np.uint8)
    for intent in range(n_intents):
        # 1 for the next intent of the ring, ..., n_intents for the intent itself.
        distance[:, intent] = ((held - intent - 1) % n_intents).min(1) + 1
    return ((np.arange(n_intents) + distance) % n_intents).astype(np.uint8)


def _categorical(
    preferences: ndarray, n_values: int, strength: float, rng: np.random.Generator
) -> tuple[Int64[ndarray, " users"], Float64[ndarray, "users values"]]:
    """Each intent has its own distribution over the values; a user mixes those of the intents held. Values, and their laws."""
    odds = np.exp(2.0 * strength * rng.standard_normal((preferences.shape[1], n_values)))
    by_intent = np.round(odds / odds.sum(1, keepdims=True), 12)
    cumulative = np.cumsum(np.einsum("uk,kv->uv", preferences, by_intent), axis=1)
    draws = rng.random(len(preferences)) * cumulative[:, -1]
    law = np.diff(cumulative, axis=1, prepend=0.0) / cumulative[:, -1:]
    return np.asarray((draws[:, None] >= cumulative[:, :-1]).sum(1)), law


def _ordinal(
    preferences: ndarray, strength: float, rng: np.random.Generator
) -> tuple[Int64[ndarray, " users"], Float64[ndarray, " users"]]:
    """Bands of equal size of a noisy score, to which every intent adds its own amount; and the score without noise."""
    known = np.einsum("uk,k->u", preferences, 2.0 * strength * rng.standard_normal(preferences.shape[1]))
    score = known + 0.5 * rng.standard_normal(len(preferences))
    place = np.argsort(np.argsort(score, kind="stable"), kind="stable")
    return place * N_AGE_BANDS // len(preferences), known


def _lengths(config: SimulateConfig, rng: np.random.Generator) -> Int64[ndarray, " users"]:
    """Heavy-tailed history lengths within the bounds that sum to ``n_events`` exactly."""
    weights = np.exp(config.history_spread * rng.standard_normal(config.n_users))
    room = np.full(config.n_users, config.max_user_events - config.min_user_events)
    extra = np.zeros(config.n_users, np.int64)
    left = config.n_events - config.n_users * config.min_user_events
    while left > 0:
        open_users = np.flatnonzero(extra < room)
        share = left * weights[open_users] / weights[open_users].sum()
        whole = np.floor(share).astype(np.int64)
        # Largest remainders first; what overflows a full user goes round again.
        order = np.argsort(whole - share, kind="stable")[: left - whole.sum()]
        whole[order] += 1
        extra[open_users] = np.minimum(extra[open_users] + whole, room[open_users])
        left = config.n_events - config.n_users * config.min_user_events - int(extra.sum())
    return extra + config.min_user_events
