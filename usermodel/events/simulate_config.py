"""The parameters of the simulator, and the checks that need more than one of them."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from usermodel.config import Config
from usermodel.errors import ConfigError

#: No simulated user has more events than this, however large the catalogue.
MAX_HISTORY: Final = 10_000


class SimulateConfig(Config):
    """Size and shape of a simulated world.

    Attributes:
        n_users: Users; each has at least ``min_user_events`` events.
        n_items: Items in the catalogue.
        n_events: Clicked impressions in total, met exactly.
        seed: Same seed and same parameters, same bytes.
        n_intents: Latent intents. Every item belongs to one; there is one category per intent.
        user_intents: Intents a user holds; the rest get 2 % of the preference between them.
        min_user_events: Shortest history.
        history_spread: Standard deviation of the logarithm of history lengths; 0 makes all equal.
        zipf_exponent: Popularity of the item of rank r is proportional to ``r ** -zipf_exponent``.
        series_length: Mean number of items in a series; an item's successor is the next of its series.
        category_noise: Share of items whose categories are shuffled among them; the others' follow the intent.
        explore_share: Policy: share of impressions drawn uniformly. Positive, so that every propensity is.
        related_share: Policy: share drawn by popularity within the category of the user's last click.
        taste_share: Policy: the same within one of the user's interests, the categories of the intents held.
        next_share: Policy: share given to the successor of the user's last click, where there is a new one.
            What the four shares leave is drawn by popularity alone.
        click_bias: Log-odds of a click on an average item of a foreign intent.
        match_effect: Added to the log-odds when the item's intent is the user's active one.
        appeal_spread: Standard deviation of the item's own addition to the log-odds.
        next_effect: Added to the log-odds for the successor of the last click.
        drift: Probability that the active intent is drawn anew after an event within a session.
        session_drift: The same across the border of two sessions.
        directed: Given a drift, probability of moving to the next of the intents that the user holds, in the order of
            the ring 0 -> 1 -> ... -> 0; otherwise the user's preferences draw the new one.
        session_events: Mean number of events in a session.
        n_days: Sessions start within so many days.
        attribute_strength: How strongly device, region and age band depend on preferences; 0 is not at all.
    """

    n_users: int = Field(5_000, ge=1, le=10_000_000)
    n_items: int = Field(2_000, ge=20, le=1_000_000)
    n_events: int = Field(200_000, ge=2)
    seed: int = Field(0, ge=0)
    n_intents: int = Field(12, ge=2, le=64)
    user_intents: int = Field(3, ge=1, le=64)
    min_user_events: int = Field(5, ge=2)
    history_spread: float = Field(0.8, ge=0, le=2)
    zipf_exponent: float = Field(0.9, ge=0, le=2)
    series_length: float = Field(6.0, ge=1, le=100)
    category_noise: float = Field(0.1, ge=0, le=1)
    explore_share: float = Field(0.05, ge=0.01, le=1)
    related_share: float = Field(0.4, ge=0, le=0.99)
    taste_share: float = Field(0.42, ge=0, le=0.99)
    next_share: float = Field(0.07, ge=0, le=0.99)
    click_bias: float = Field(-4.0, ge=-5, le=3)
    match_effect: float = Field(6.0, ge=0, le=10)
    appeal_spread: float = Field(0.5, ge=0, le=2)
    next_effect: float = Field(1.5, ge=0, le=10)
    drift: float = Field(0.15, ge=0, le=1)
    session_drift: float = Field(0.5, ge=0, le=1)
    directed: float = Field(0.8, ge=0, le=1)
    session_events: float = Field(5.0, ge=1, le=1_000)
    n_days: int = Field(60, ge=1, le=365)
    attribute_strength: float = Field(1.0, ge=0, le=10)

    @property
    def max_user_events(self) -> int:
        """Longest history: a quarter of the catalogue, because nobody clicks an item twice; at most `MAX_HISTORY`."""
        return min(self.n_items // 4, MAX_HISTORY)


def check(config: SimulateConfig) -> None:
    """Refuse values that are each in range but impossible together.

    Raises:
        ConfigError: Names the parameter to change and the range that fits the others.
    """
    low, high = config.n_users * config.min_user_events, config.n_users * config.max_user_events
    if config.min_user_events > config.max_user_events:
        do = "Lower min_user_events, or raise n_items: nobody clicks an item twice."
        found = f"{config.min_user_events:,}"
        expected = f"at most {config.max_user_events:,} with {config.n_items:,} items"
        raise ConfigError("min_user_events", expected=expected, found=found, do=do)
    if not low <= config.n_events <= high:
        do = (
            "Raise n_events, or lower n_users."
            if config.n_events < low
            else "Lower n_events, or raise n_users or n_items."
        )
        expected = f"{low:,} to {high:,} for {config.n_users:,} users and {config.n_items:,} items"
        raise ConfigError("n_events", expected=expected, found=f"{config.n_events:,}", do=do)
    if config.user_intents > config.n_intents:
        expected = f"at most n_intents, which is {config.n_intents}"
        raise ConfigError(
            "user_intents", expected=expected, found=str(config.user_intents), do="Lower user_intents."
        )
    if config.n_items < 4 * config.n_intents:
        expected = f"at least 4 per intent, {4 * config.n_intents}"
        raise ConfigError(
            "n_items", expected=expected, found=str(config.n_items), do="Raise n_items, or lower n_intents."
        )
    shares = config.explore_share + config.related_share + config.taste_share + config.next_share
    if shares > 1:
        expected = "explore_share + related_share + taste_share + next_share at most 1"
        raise ConfigError(
            "explore_share", expected=expected, found=f"{shares:g}", do="Lower one of the four."
        )
