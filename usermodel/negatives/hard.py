"""Dynamic hard negatives: of a few uniform candidates the one that the model scores best."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float, Int64
from pydantic import Field, model_validator
from torch import Tensor

from usermodel.events.splits import Split
from usermodel.negatives.protocol import DrawContext, Negatives, NegativeSampler, NegativesConfig
from usermodel.negatives.user_lists import UserLists
from usermodel.store.sequence_store import SequenceStore
from usermodel.store.training_events import training_events

#: Numbers held at once, about, by the kind of device: 32 MiB of float32 on a processor, 512 MiB elsewhere.
NUMBERS: Final = {"cpu": 1 << 23}
_ELSEWHERE: Final = 1 << 27
#: Scores of a product that take as long as one from gathered vectors: measured on one core, 100 to 300.
GATHERED: Final = 64
#: Draws an event up to which comparing each with all items is faster than sorting these: measured on one core with 1,682 items;
#: with 12,101 it is 150.
FEW: Final = 64
#: Comparisons held at once, by the kind of device: as many as the cache of a core holds.
COMPARISONS: Final = {"cpu": 1 << 18}
#: Whole numbers up to which float32 has every one.
EXACT: Final = 1 << 24


class HardConfig(NegativesConfig):
    """One of the ``top`` best of ``candidates`` uniform draws, by the event's scores as they are now.

    Attributes:
        candidates: Uniform draws, with replacement, of which one is kept; 1 is uniform sampling. More are harder.
        top: How many of the best may be the one; 1 is DNS.
        unseen: Whether candidates from the user's own training history come after all others: what a user has taken is what the
            model soon scores best, and would be most of the draws.
    """

    candidates: int = Field(default=32, ge=1)
    top: int = Field(default=1, ge=1)
    unseen: bool = False

    @model_validator(mode="after")
    def _enough_candidates(self) -> HardConfig:
        if self.top > self.candidates:
            raise ValueError(f"top at most candidates={self.candidates}, got {self.top}")
        return self

    def build(self, store: SequenceStore, split: Split) -> Hard:
        """A sampler of 1 to ``store.n_items``; only training events count as seen."""
        seen = UserLists.of(*training_events(store, split), store.n_users) if self.unseen else None
        return Hard(store.n_items, candidates=self.candidates, top=self.top, seen=seen)


@dataclass(frozen=True)
class HardDraws:
    """Items, and where they stand among all items by the scores of their event.

    Attributes:
        ids: 1 to n_items, ``[events, n]``.
        above: Items with a higher score, same shape; None where nobody asked.
        equal: Items with this score, the item itself among them, same shape; None where nobody asked.
    """

    ids: Int64[Tensor, "events n"]
    above: Int64[Tensor, "events n"] | None
    equal: Int64[Tensor, "events n"] | None


class Hard(NegativeSampler):
    """Each draw has m uniform candidates of its own, is the j-th best of them by ``h_t . e_i``, and j is uniform in 1..k.

    ``q(i) = 1/(k e) sum_{j=1..k} [P(Bin(m, (a + e)/N) >= j) - P(Bin(m, a/N) >= j)]`` where a of the N items have a higher
    score than i and e the same: the j-th best candidate is among the best r items exactly if at least j candidates are.

    Source: DNS (Zhang et al. 2013, "Optimizing top-N collaborative filtering via dynamic negative item sampling"), k = 1; for
    k > 1 the sampling of the "top-k of n" kind. Deviations: candidates may be items of the user or the target itself, so that
    ``q`` depends on scores alone; the probability, which is not in the paper. There is no pool that events or draws share:
    draws from one pool depend on each other, and ``q`` would be that of the pool only.

    With ``seen`` the user's items count as scored below all others, all alike: ``q`` is exact with that. Such an item is drawn only
    where fewer than j candidates are others, and then has weight 0.

    Cost: scores of all items for every event if probabilities are asked for, and a sort or comparisons of them; else ``n m`` scores an event
    from gathered vectors, or those of all items where that is faster.
    """

    def __init__(
        self, n_items: int, *, candidates: int = 32, top: int = 1, seen: UserLists | None = None
    ) -> None:
        super().__init__()
        assert 1 <= top <= candidates, "one of the best of the candidates"
        self.n_items, self.candidates, self.top, self.seen = n_items, candidates, top, seen

    def sample(
        self,
        positives: Int64[Tensor, " events"],
        context: DrawContext,
        *,
        n: int,
        generator: torch.Generator | None = None,
        log_q: bool = True,
    ) -> Negatives:
        """See `NegativeSampler.sample`; draws are an event's own, ``[events, n]``.

        Raises:
            ConfigError: Whoever draws has no item vectors, or does not know the users where their items come last.
        """
        del positives
        drawn = self.draw(context, n, generator=generator, ranked=log_q)
        probability = None
        if drawn.above is not None and drawn.equal is not None:
            probability = self.log_probability(drawn.above, drawn.equal)
        return Negatives(drawn.ids, probability, self.weight(context, drawn.ids))

    def weight(
        self, context: DrawContext, ids: Int64[Tensor, "events n"]
    ) -> Float[Tensor, "events n"] | None:
        """0 for what the user has taken, 1 for the rest; None where that is not asked."""
        return None if self.seen is None else (~self.seen.contains(context.users(), ids)).float()

    @torch.no_grad()
    def draw(
        self, context: DrawContext, n: int, *, generator: torch.Generator | None = None, ranked: bool = True
    ) -> HardDraws:
        """Draws with their places, if ``ranked``; rows in chunks, so that memory does not grow with the events."""
        vectors, items = context.vectors.float(), context.item_vectors().float()
        device, size = vectors.device, n * self.candidates
        whole = ranked or size * GATHERED >= self.n_items
        row = self._row(n) + 3 * size if whole else size * (items.shape[1] + 3)
        step = max(1, NUMBERS.get(device.type, _ELSEWHERE) // row)
        place = None
        if self.top > 1:
            place = torch.randint(self.top, (len(vectors), n, 1), generator=generator, device=device)
        found = []
        with _full_precision(device.type):
            for start in range(0, max(len(vectors), 1), step):
                chunk = vectors[start : start + step]
                shape = (len(chunk), n, self.candidates)
                pool = torch.randint(self.n_items, shape, generator=generator, device=device)
                everything = chunk @ items.T if whole else None
                scores = _scores(chunk, items, pool, everything)
                if self.seen is not None:
                    user = context.users()[start : start + step]
                    taken = self.seen.contains(user, pool.flatten(1) + 1).view_as(pool)
                    scores = scores.masked_fill(taken, -torch.inf)
                    everything = None if everything is None else self._others(everything, user)
                chosen = None if place is None else place[start : start + step]
                found.append(self._choose(pool, scores, chosen, everything if ranked else None))
        ids, above, equal = (torch.cat(parts) for parts in zip(*found, strict=True))
        return HardDraws(ids, above, equal) if ranked else HardDraws(ids, None, None)

    def _choose(
        self, pool: Tensor, scores: Tensor, place: Tensor | None, everything: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Ids, and the items above and equal; among equal scores of a pool places decide, which is fair."""
        if place is None:
            best = scores.argmax(2, keepdim=True)
        else:
            best = scores.topk(self.top, dim=2).indices.gather(2, place)
        ids = pool.gather(2, best)[..., 0]
        if everything is None:
            return ids + 1, ids[:0], ids[:0]
        return ids + 1, *_places(everything, everything.gather(1, ids))

    def _others(self, everything: Tensor, user: Tensor | None) -> Tensor:
        """Scores in which what the users have taken comes last; changed in place."""
        if self.seen is not None and user is not None:
            everything.masked_fill_(self.seen.among(user, self.n_items), -torch.inf)
        return everything

    @torch.no_grad()
    def places(
        self, context: DrawContext, ids: Int64[Tensor, "events n"]
    ) -> tuple[Int64[Tensor, "events n"], Int64[Tensor, "events n"]]:
        """Items with a higher score than each of ``ids``, and with the same, as far as the user has not taken them."""
        vectors, items = context.vectors.float(), context.item_vectors().float()
        step = max(1, NUMBERS.get(vectors.device.type, _ELSEWHERE) // self._row(ids.shape[1]))
        with _full_precision(vectors.device.type):
            found = []
            for start in range(0, max(len(ids), 1), step):
                rows = slice(start, start + step)
                scores = vectors[rows] @ items.T
                mine = scores.gather(1, ids[rows] - 1)
                user = None if self.seen is None else context.users()[rows]
                found.append(_places(self._others(scores, user), mine))
        above, equal = (torch.cat(parts) for parts in zip(*found, strict=True))
        return above, equal

    def _row(self, n: int) -> int:
        """Numbers for one event's scores, and for what finds places among them: a sort, or comparisons."""
        return self.n_items * 2 + 3 * n

    def log_probability(
        self, above: Int64[Tensor, "events n"], equal: Int64[Tensor, "events n"]
    ) -> Float[Tensor, "events n"]:
        """Log of the probability that one draw gives an item, by its place among all; float32, computed in float64."""
        below = self.n_items - above
        mass = self._missing(below) - self._missing(below - equal)
        return (mass / (self.top * equal)).log().clamp(max=0.0).float()

    def _missing(self, below: Int64[Tensor, "events n"]) -> Float[Tensor, "events n"]:
        """``E max(k - Bin(m, 1 - b/N), 0)``, with b the items not among the best.

        The sum over j of ``P(Bin >= j)`` is k minus this. Differences are taken of this, not of that: it is small where
        probabilities are, and keeps their digits.
        """
        m, rest = self.candidates, below.double() / self.n_items
        taken, total = 1.0 - rest, torch.zeros_like(rest)
        for i in range(self.top):
            ways = math.lgamma(m + 1) - math.lgamma(i + 1) - math.lgamma(m - i + 1)
            chance = torch.special.xlogy(float(i), taken) + torch.special.xlogy(float(m - i), rest) + ways
            total += (self.top - i) * chance.exp()
        return total


def _places(everything: Tensor, mine: Tensor) -> tuple[Tensor, Tensor]:
    """Columns with a higher score than each of ``mine`` in its row, and with the same."""
    n_columns = everything.shape[1]
    if mine.shape[1] > FEW or n_columns > EXACT:
        ordered = everything.sort(dim=1).values
        until = torch.searchsorted(ordered, mine, right=True)
        return n_columns - until, until - torch.searchsorted(ordered, mine)
    above, not_below = torch.empty_like(mine), torch.empty_like(mine)
    step = max(1, COMPARISONS.get(everything.device.type, _ELSEWHERE) // n_columns)
    # Ones and zeros as float32: their sums take a quarter of the time of those of booleans.
    buffer = torch.empty(min(step, len(mine)), n_columns, dtype=everything.dtype, device=everything.device)
    for start in range(0, len(mine), step):
        rows = slice(start, start + step)
        scores, truth = everything[rows], buffer[: len(mine) - start]
        for j in range(mine.shape[1]):
            own = mine[rows, j : j + 1]
            above[rows, j] = torch.gt(scores, own, out=truth).sum(1)
            not_below[rows, j] = torch.ge(scores, own, out=truth).sum(1)
    return above.long(), (not_below - above).long()


def _scores(chunk: Tensor, items: Tensor, pool: Tensor, everything: Tensor | None) -> Tensor:
    """Scores of the candidates, ``[rows, n, candidates]``."""
    flat = pool.flatten(1)
    if everything is not None:
        return everything.gather(1, flat).view_as(pool)
    return torch.bmm(items[flat], chunk[:, :, None]).view_as(pool)


def _full_precision(kind: str) -> contextlib.AbstractContextManager[object]:
    """Rounded scores would be equal too often, whatever autocast says of the loss."""
    if torch.amp.is_autocast_available(kind):
        return torch.autocast(kind, enabled=False)
    return contextlib.nullcontext()
