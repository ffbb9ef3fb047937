"""Users walking through impressions: the active intent, the clicks, and the drift after each click.

Between two clicks of a user nothing changes: neither the active intent, nor the policy. That is what makes the
probability of the next click a closed formula (`simulate_truth`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64, UInt8, UInt16
from numpy import ndarray

from usermodel.events.simulate_config import SimulateConfig
from usermodel.events.simulate_exposure import Exposure
from usermodel.events.simulate_users import Users
from usermodel.events.simulate_world import World

_REPORT_EVERY = 16


@dataclass
class Rows:
    """Impressions, sorted by user, then in order of time.

    Attributes:
        user: Number of the user within the block.
        item: Index of the item.
        clicked: Whether the impression became an event.
        propensity: Probability that this item was shown here.
        intent: The user's active intent.
        is_next: Whether the item is the successor of the user's last click.
        ends_session: Whether the session ends after this row; only clicked rows end one.
        relevance: Mean click probability here over all items that the user has not clicked yet.
    """

    user: UInt16[ndarray, " impressions"]
    item: Int32[ndarray, " impressions"]
    clicked: Bool[ndarray, " impressions"]
    propensity: Float64[ndarray, " impressions"]
    intent: UInt8[ndarray, " impressions"]
    is_next: Bool[ndarray, " impressions"]
    ends_session: Bool[ndarray, " impressions"]
    relevance: Float32[ndarray, " impressions"]


class Walk:
    """A block of users, all walking at once.

    Attributes:
        before_last: The active intent at each user's last event but one.
    """

    def __init__(self, config: SimulateConfig, world: World, users: Users, rng: np.random.Generator) -> None:
        n, k = users.preferences.shape
        self.config, self.world, self.users, self.rng = config, world, users, rng
        self.exposure = Exposure(config, world, users.held, rng)
        self.cumulative = np.cumsum(users.preferences, axis=1)
        self.cumulative[:, -1] = 1.0
        # Sums over items of the click probability: foreign intents, and by intent what a match adds.
        self.foreign, self.gain = world.click[0, 0], world.click[0, 1] - world.click[0, 0]
        self.open_foreign = np.full(n, self.foreign.sum())
        self.open_gain = np.tile(np.bincount(world.intent, self.gain, k), (n, 1))
        self.intent = self._draw_preferred(np.arange(n))
        self.before_last = np.zeros(n, np.int64)

    def run(self, report: Callable[[int], None]) -> Rows:
        """Walk until every user has the clicks wanted; ``report`` gets the number of clicks since its last call."""
        n_clicks, wanted = self.exposure.n_clicks, self.users.n_events
        active, steps, reported = np.arange(len(wanted)), list[Rows](), 0
        while len(active):
            steps.append(self._step(active))
            active = active[n_clicks[active] < wanted[active]]
            if len(steps) % _REPORT_EVERY == 0 or not len(active):
                done = int(n_clicks.sum())
                report(done - reported)
                reported = done
        order = np.argsort(np.concatenate([step.user for step in steps]), kind="stable")
        names = [field.name for field in fields(Rows)]
        return Rows(
            **{name: np.concatenate([getattr(step, name) for step in steps])[order] for name in names}
        )

    def _step(self, active: Int64[ndarray, " active"]) -> Rows:
        """One impression for each active user."""
        intent, successor = self.intent[active], self.exposure.successor[active]
        item, propensity = self.exposure.draw(active)
        is_next = item == successor
        matches = (self.world.intent[item] == intent).astype(np.int64)
        clicked = self.rng.random(len(active)) < self.world.click[is_next.astype(np.int64), matches, item]
        rows = Rows(
            user=active.astype(np.uint16),
            item=item.astype(np.int32),
            clicked=clicked,
            propensity=propensity,
            intent=intent.astype(np.uint8),
            is_next=is_next,
            ends_session=np.zeros(len(active), np.bool_),
            relevance=self._relevance(active, intent, successor),
        )
        where = np.flatnonzero(clicked)
        rows.ends_session[where] = self._click(active[where], item[where])
        return rows

    def _relevance(self, active: ndarray, intent: ndarray, successor: ndarray) -> Float32[ndarray, " active"]:
        total = self.open_foreign[active] + self.open_gain[active, intent]
        matches = (self.world.intent[successor] == intent).astype(np.int64)
        bonus = self.world.click[1, matches, successor] - self.world.click[0, matches, successor]
        total += np.where(successor >= 0, bonus, 0.0)
        return np.asarray((total / (self.config.n_items - self.exposure.n_clicks[active])).astype(np.float32))

    def _click(
        self, user: Int64[ndarray, " clicks"], item: Int64[ndarray, " clicks"]
    ) -> Bool[ndarray, " clicks"]:
        """Update the users who clicked; returns whose session ends."""
        self.exposure.click(user, item)
        self.open_foreign[user] -= self.foreign[item]
        self.open_gain[user, self.world.intent[item]] -= self.gain[item]
        almost = user[self.exposure.n_clicks[user] == self.users.n_events[user] - 1]
        self.before_last[almost] = self.intent[almost]
        ends = self.rng.random(len(user)) < 1.0 / self.config.session_events
        drifts = self.rng.random(len(user)) < np.where(ends, self.config.session_drift, self.config.drift)
        self._drift(user[drifts])
        return ends

    def _drift(self, user: Int64[ndarray, " drifting"]) -> None:
        follows = self.rng.random(len(user)) < self.config.directed
        following = self.users.following[user, self.intent[user]]
        self.intent[user] = np.where(follows, following, self._draw_preferred(user))

    def _draw_preferred(self, user: Int64[ndarray, " drawing"]) -> Int64[ndarray, " drawing"]:
        draws = self.rng.random(len(user))
        return np.asarray((draws[:, None] >= self.cumulative[user]).sum(1))
