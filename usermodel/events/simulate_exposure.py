"""The logging policy: what each user is shown next, and with which probability.

One item is shown at a time, and never one that the user has clicked before. With history h (the user's clicks so far)
the probability that item i is shown, its propensity, is exactly

    p(i | h) = n [i = successor] + (1 - n) b(i | h) / (1 - sum of b(j | h) over clicked j)
    b(i | h) = (1 - r - t) general(i) + r own(i) [category(i) = that of the last click]
                                      + t own(i) [category(i) is an interest of the user] / (number of interests)

where n is ``next_share`` if the successor of the last click exists and is new, else 0; ``general`` mixes popularity
and the uniform distribution; ``own`` is popularity within the item's category; r and t are ``related_share`` and
``taste_share`` divided by 1 - ``next_share``; before the first click r is 0. Interests are the categories that users
named when they signed up: those of the intents they hold, all alike. The platform knows them, the log does not.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from usermodel.events.simulate_config import SimulateConfig
from usermodel.events.simulate_world import World

#: At most 2 ** 15: rows are sorted by a 16-bit user number.
MAX_BLOCK_USERS = 32_768
_SEEN_BYTES = 1 << 26


def block_users(config: SimulateConfig) -> int:
    """Users that are simulated together: the table of who clicked what stays below 64 MB."""
    return int(np.clip(_SEEN_BYTES // config.n_items, 64, MAX_BLOCK_USERS))


class Exposure:
    """The policy's view of a block of users.

    Attributes:
        n_clicks: Clicks of each user so far, ``[users]``.
        last_category: Category of the last click, ``[users]``.
        successor: Index of the item that succeeds the last click, or -1 if there is none or it was clicked, ``[users]``.
        seen: Whether the user has clicked the item, ``[users, items]``.
    """

    def __init__(
        self,
        config: SimulateConfig,
        world: World,
        interests: Int64[ndarray, "users held"],
        rng: np.random.Generator,
    ) -> None:
        n, k, rest = len(interests), config.n_intents, 1.0 - config.next_share
        self.config, self.world, self.interests, self.rng = config, world, interests, rng
        self.related, self.taste = config.related_share / rest, config.taste_share / rest
        # One search serves all distributions: category c lies between c and c + 1, `general` between k and k + 1.
        order = np.argsort(world.category, kind="stable")
        self.order = np.append(order, np.arange(config.n_items))
        self.starts = np.append(np.searchsorted(world.category[order], np.arange(k + 1)), 2 * config.n_items)
        running = np.append(0.0, np.cumsum(world.own[order]))
        within = running[1:] - running[self.starts[world.category[order]]]
        self.cumulative = np.append(within + world.category[order], k + np.cumsum(world.general))
        self.n_clicks = np.zeros(n, np.int64)
        self.last_category = np.zeros(n, np.int64)
        self.successor = np.full(n, -1)
        self.seen = np.zeros((n, config.n_items), np.bool_)
        self.taste_of = np.zeros((n, k))
        np.put_along_axis(self.taste_of, interests, self.taste / config.user_intents, axis=1)
        # Mass of the clicked items: under `general`, under `own` by category, and under the interests.
        self.seen_general, self.seen_own, self.seen_taste = np.zeros(n), np.zeros((n, k)), np.zeros(n)

    def draw(
        self, user: Int64[ndarray, " active"]
    ) -> tuple[Int64[ndarray, " active"], Float64[ndarray, " active"]]:
        """Show an item to each of ``user`` (no user twice); returns the items and their propensities."""
        successor = self.successor[user]
        next_share = self.config.next_share * (successor >= 0)
        takes_next = self.rng.random(len(user)) < next_share
        item = np.where(takes_next, successor, self._draw_base(user))
        # b is conditioned on items not clicked yet: draw again where it hit one.
        again = np.flatnonzero(self.seen[user, item])
        while len(again):
            item[again] = self._draw_base(user[again])
            again = again[self.seen[user[again], item[again]]]
        base = self._base(user, item) / (1.0 - self._seen_mass(user))
        return item, (1.0 - next_share) * base + next_share * (item == successor)

    def _draw_base(self, user: Int64[ndarray, " active"]) -> Int64[ndarray, " active"]:
        """Draw from b: first a part of the mixture, then an item."""
        part, which, place = self.rng.random((3, len(user)))
        interest = self.interests[user, (which * self.config.user_intents).astype(np.int64)]
        row = np.where(part < self.taste, interest, self.last_category[user])
        personal = self.taste + np.where(self.n_clicks[user] > 0, self.related, 0.0)
        row = np.where(part < personal, row, self.config.n_intents)
        found = np.searchsorted(self.cumulative, place + row, side="right")
        # Rounding can carry a draw over the end of its row.
        return np.asarray(self.order[np.clip(found, self.starts[row], self.starts[row + 1] - 1)])

    def _base(
        self, user: Int64[ndarray, " active"], item: Int64[ndarray, " active"]
    ) -> Float64[ndarray, " active"]:
        """The b of the module docstring."""
        category, related = self.world.category[item], np.where(self.n_clicks[user] > 0, self.related, 0.0)
        personal = related * (category == self.last_category[user]) + self.taste_of[user, category]
        return np.asarray(
            (1.0 - related - self.taste) * self.world.general[item] + personal * self.world.own[item]
        )

    def _seen_mass(self, user: Int64[ndarray, " active"]) -> Float64[ndarray, " active"]:
        """Sum of b over the clicked items; 0 before the first click."""
        mass = (1.0 - self.related - self.taste) * self.seen_general[user] + self.seen_taste[user]
        return np.asarray(mass + self.related * self.seen_own[user, self.last_category[user]])

    def click(self, user: Int64[ndarray, " clicks"], item: Int64[ndarray, " clicks"]) -> None:
        """Each of ``user`` (no user twice) clicked ``item``."""
        category, own = self.world.category[item], self.world.own[item]
        self.n_clicks[user] += 1
        self.seen[user, item] = True
        self.seen_general[user] += self.world.general[item]
        self.seen_own[user, category] += own
        self.seen_taste[user] += self.taste_of[user, category] * own
        self.last_category[user] = category
        self._succeed(user, item)

    def _succeed(self, user: Int64[ndarray, " clicks"], item: Int64[ndarray, " clicks"]) -> None:
        successor = self.world.successor[item]
        self.successor[user] = np.where((successor >= 0) & ~self.seen[user, successor], successor, -1)

    def rewind(self, target: Int64[ndarray, " users"], previous: Int64[ndarray, " users"]) -> None:
        """Go back to before the last click, of ``target``, which came after ``previous``; serves `distribution` only."""
        user = np.arange(len(target))
        self.seen[user, target] = False
        self.last_category = self.world.category[previous]
        self._succeed(user, previous)

    def distribution(self, user: Int64[ndarray, " chunk"]) -> Float64[ndarray, "chunk items"]:
        """The p of the module docstring for every item, for users with at least one click."""
        world, row = self.world, np.arange(len(user))
        personal = self.taste_of[user]
        personal[row, self.last_category[user]] += self.related
        shown = personal[:, world.category]
        shown *= world.own
        shown += (1.0 - self.related - self.taste) * world.general
        shown[self.seen[user]] = 0.0
        next_share = self.config.next_share * (self.successor[user] >= 0)
        shown *= ((1.0 - next_share) / shown.sum(1))[:, None]
        shown[row, self.successor[user]] += next_share
        return np.asarray(shown)
