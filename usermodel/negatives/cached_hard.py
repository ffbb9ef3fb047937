"""Hard negatives of each user, found before each epoch among all items and kept until the next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64
from numpy import ndarray
from pydantic import Field
from torch import Tensor

from usermodel.ann.base import FaissIndex
from usermodel.ann.kinds import kind_of
from usermodel.events.splits import Split
from usermodel.negatives.history_vectors import history_vectors, in_parts
from usermodel.negatives.protocol import DrawContext, Negatives, NegativeSampler, NegativesConfig
from usermodel.negatives.user_lists import UserLists
from usermodel.store.sequence_store import SequenceStore

if TYPE_CHECKING:
    from usermodel.encoders.protocol import EncoderModule

#: Items up to which every one is looked at; beyond, those of the nearest inverted lists.
FLAT_MOST: Final = 200_000
#: Found items held at once, about.
_FOUND: Final = 1 << 21


class CachedHardConfig(NegativesConfig):
    """The user's best items at the last refresh, but for those of the training history, mixed with uniform draws.

    A refresh before each epoch encodes every training history once and searches the items for every user: up to 200,000
    items that is exact, and ``users x items`` scores; beyond, an inverted file that is trained anew looks into some lists.
    For millions of users that may take longer than the epoch.

    Attributes:
        size: Items kept for each user; they take 4 bytes each, also in checkpoints.
        uniform: Share of draws from the whole catalogue, above 0, so that every item can be drawn.
    """

    size: int = Field(default=100, ge=1)
    uniform: float = Field(default=0.5, gt=0, le=1)

    def build(self, store: SequenceStore, split: Split) -> CachedHard:
        """A sampler that is uniform until it is refreshed."""
        size = min(self.size, store.n_items)
        return CachedHard(store.n_items, split.start, split.train_stop, size=size, uniform=self.uniform)


class CachedHard(NegativeSampler):
    """``q(i) = u/N + (1 - u) [i in list of the user]/length``; ``u/N`` becomes ``1/N`` where the list is empty.

    The list of a user holds the ``size`` items with the largest inner products with the user's vector after the training
    history, without items of that history. Negatives that lag behind the model by up to an epoch are the idea of ANCE (Xiong
    et al. 2021, arXiv:2007.00808). Deviations: an epoch between refreshes, in its steps and not beside them; one list a user,
    though events of a user differ; mixed with uniform draws.

    Args:
        n_items: Items of the catalogue.
        start: First store row of each user's training history.
        stop: Row after its last one.
        size: Items kept a user.
        uniform: Share of uniform draws.
    """

    def __init__(
        self,
        n_items: int,
        start: Int64[ndarray, " users"],
        stop: Int64[ndarray, " users"],
        *,
        size: int = 100,
        uniform: float = 0.5,
    ) -> None:
        super().__init__()
        self.n_items, self.size, self.uniform = n_items, size, uniform
        self._start, self._stop = start, stop
        self.lists = UserLists.empty(len(start), size)

    def sample(
        self,
        positives: Int64[Tensor, " events"],
        context: DrawContext,
        *,
        n: int,
        generator: torch.Generator | None = None,
        log_q: bool = True,
    ) -> Negatives:
        """See `NegativeSampler.sample`; draws are an event's own.

        Raises:
            ConfigError: Whoever draws does not know the users.
        """
        del positives
        return self.lists.mixed(
            context.users(),
            n,
            n_items=self.n_items,
            uniform=self.uniform,
            generator=generator,
            log_q=log_q,
        )

    @torch.no_grad()
    def refresh(self, encoder: EncoderModule, store: SequenceStore) -> None:
        """Find every user's list anew; a user without training events has none.

        Raises:
            NumericError: A vector is not finite.
            MissingError: FAISS is not installed.
        """
        length = self._stop - self._start
        users = np.flatnonzero(length)
        users = users[np.argsort(length[users], kind="stable")]
        vectors = history_vectors(encoder, store, users, self._stop[users]).cpu().numpy()
        index = _index(encoder.item_vectors().float().cpu().numpy())
        items = self.lists.items.view(-1, self.size)
        self.lists.count.zero_()
        for part in in_parts(np.arange(len(users)), self.size + length[users], _FOUND):
            found, count = self._best(index, vectors[part], users[part], store)
            rows = torch.from_numpy(users[part]).to(items.device)
            items[rows] = torch.from_numpy(found).to(items)
            self.lists.count[rows] = torch.from_numpy(count).to(items.device)

    def _best(
        self,
        index: FaissIndex,
        vectors: Float32[ndarray, "part dim"],
        users: Int64[ndarray, " part"],
        store: SequenceStore,
    ) -> tuple[Int64[ndarray, "part size"], Int64[ndarray, " part"]]:
        """The best items that are not in the training history, in rising order, and how many there are."""
        # Were the whole history at the top, enough would be left.
        k = self.size + int((self._stop - self._start)[users].max())
        found = index.search(vectors, k)[1] + 1
        # Position -1, where an inverted file found fewer, has become the padding.
        good = (found > 0) & ~self._in_history(found, users, store)
        if found.shape[1] < self.size:
            found, good = (np.pad(one, ((0, 0), (0, self.size - found.shape[1]))) for one in (found, good))
        first = np.argsort(~good, axis=1, kind="stable")[:, : self.size]
        count = np.minimum(good.sum(1), self.size)
        room = np.arange(self.size) >= count[:, None]
        items = np.where(room, self.n_items + 1, np.take_along_axis(found, first, 1))
        items.sort(axis=1)
        return np.where(room, 0, items), count

    def _in_history(
        self, found: Int64[ndarray, "part k"], users: Int64[ndarray, " part"], store: SequenceStore
    ) -> Bool[ndarray, "part k"]:
        start, length = self._start[users], (self._stop - self._start)[users]
        shift = start - (np.cumsum(length) - length)
        rows = np.repeat(shift, length) + np.arange(length.sum())
        width = self.n_items + 1
        base = np.arange(len(users)) * width
        taken = np.unique(np.repeat(base, length) + store.items[rows])
        wanted = base[:, None] + found
        at = np.searchsorted(taken, wanted)
        inside: ndarray = taken[np.minimum(at, len(taken) - 1)] == wanted
        return inside


def _index(items: Float32[ndarray, "items dim"]) -> FaissIndex:
    """Exact, or an inverted file that looks into half as many lists, in steps of a root of two, as there are in all."""
    if len(items) <= FLAT_MOST:
        return kind_of("flat").build(items)
    index = kind_of("ivf-flat").build(items)
    efforts = index.efforts()
    # The middle of a geometric series: about the root of the number of lists.
    index.set_effort(efforts[len(efforts) // 2])
    return index
