"""The planted catalogue: items with intents, series, popularity, appeal and duration.

Numbers that come out of `exp` or `pow` are rounded to twelve decimals before anything is drawn from them, because
those two differ in the last bit between processors, and the same seed has to give the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from usermodel.events.simulate_config import SimulateConfig


@dataclass(frozen=True)
class World:
    """The catalogue and everything the policy and the click model look up in it.

    Attributes:
        intent: Intent of each item.
        category: Category of each item; equals the intent but for ``category_noise``.
        series: Series of each item.
        episode: Position in the series, from 0.
        successor: Index of the next item of the series, or -1.
        popularity: Zipf weight that the policy exposes by; sums to 1.
        appeal: The item's own addition to the log-odds of a click.
        duration_ms: Length in milliseconds.
        general: What the policy shows by popularity or uniformly; sums to 1.
        own: Popularity within the item's category; sums to 1 in each.
        click: Click probability, by whether the item succeeds the last click and whether its intent is the active one.
    """

    intent: Int64[ndarray, " items"]
    category: Int64[ndarray, " items"]
    series: Int64[ndarray, " items"]
    episode: Int64[ndarray, " items"]
    successor: Int64[ndarray, " items"]
    popularity: Float64[ndarray, " items"]
    appeal: Float64[ndarray, " items"]
    duration_ms: Int64[ndarray, " items"]
    general: Float64[ndarray, " items"]
    own: Float64[ndarray, " items"]
    click: Float64[ndarray, "next=2 match=2 items"]


def generator(config: SimulateConfig, *stream: int) -> np.random.Generator:
    """An independent stream of random numbers, named by integers."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([config.seed, *stream])))


def sigmoid(logits: Float64[ndarray, "..."]) -> Float64[ndarray, "..."]:
    """Logistic function, rounded to twelve decimals."""
    return np.asarray(np.round(1.0 / (1.0 + np.exp(-logits)), 12))


def make_world(config: SimulateConfig) -> World:
    """Draw the catalogue."""
    rng, n = generator(config, 0), config.n_items
    series, episode, successor = _series(config, rng)
    intent = rng.permutation(np.arange(series.max() + 1) % config.n_intents)[series]
    # Shuffled rather than drawn, so that no category runs empty.
    noisy, category = np.flatnonzero(rng.random(n) < config.category_noise), intent.copy()
    category[noisy] = rng.permutation(intent[noisy])
    weights = np.round((1.0 + rng.permutation(n)) ** -config.zipf_exponent, 12)
    popularity = weights / weights.sum()
    appeal = np.round(config.appeal_spread * rng.standard_normal(n), 12)
    by_popularity = max(
        0.0, 1.0 - config.next_share - config.related_share - config.taste_share - config.explore_share
    )
    general = (by_popularity * popularity + config.explore_share / n) / (by_popularity + config.explore_share)
    return World(
        intent=intent,
        category=category,
        series=series,
        episode=episode,
        successor=successor,
        popularity=popularity,
        appeal=appeal,
        duration_ms=_durations(intent, series, rng),
        general=general,
        own=popularity / np.bincount(category, popularity)[category],
        click=sigmoid(
            config.click_bias
            + config.next_effect * np.arange(2)[:, None, None]
            + config.match_effect * np.arange(2)[:, None]
            + appeal
        ),
    )


def _series(config: SimulateConfig, rng: np.random.Generator) -> tuple[ndarray, ndarray, ndarray]:
    """Cut the catalogue into series and scatter them over the item ids, which must not give them away."""
    n = config.n_items
    # Short enough that there is at least one series for every intent.
    lengths = np.minimum(rng.geometric(1.0 / config.series_length, n), n // config.n_intents)
    place = np.arange(n)
    starts = np.cumsum(lengths) - lengths
    starts = starts[starts < n]
    number = np.searchsorted(starts, place, side="right") - 1
    has_next = np.append(number[1:] == number[:-1], False)
    item = rng.permutation(n)
    series, episode, successor = np.empty(n, np.int64), np.empty(n, np.int64), np.full(n, -1)
    series[item], episode[item] = number, place - starts[number]
    successor[item[has_next]] = item[place[has_next] + 1]
    return series, episode, successor


def _durations(intent: ndarray, series: ndarray, rng: np.random.Generator) -> Int64[ndarray, " items"]:
    """Log-normal seconds around a median per intent (20 s to 5 min) and per series, kept within 5 s and 1 h."""
    by_intent = np.linspace(np.log(20.0), np.log(300.0), intent.max() + 1)[intent]
    spread = 0.5 * rng.standard_normal(series.max() + 1)[series] + 0.2 * rng.standard_normal(len(intent))
    return np.asarray(np.clip(np.rint(np.exp(by_intent + spread) * 1_000), 5_000, 3_600_000).astype(np.int64))
