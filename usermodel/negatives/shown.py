"""Impressions as negatives: items that were shown to the event's user, who did not take them."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
import torch
from jaxtyping import Int64
from numpy import ndarray
from pydantic import Field
from torch import Tensor

from usermodel.errors import DataError
from usermodel.events.splits import Split
from usermodel.negatives.protocol import DrawContext, Negatives, NegativeSampler, NegativesConfig
from usermodel.negatives.user_lists import UserLists
from usermodel.schema import CLICKED, TIME
from usermodel.store.sequence_store import SequenceStore
from usermodel.store.table_input import ITEM_INDEX, NAMES, USER_ROW
from usermodel.store.training_events import training_events

_TABLE: Final = NAMES["impressions"]


class ShownConfig(NegativesConfig):
    """Items shown to the user and not taken, mixed with uniform draws; needs a store with impressions.

    Attributes:
        uniform: Share of draws from the whole catalogue, above 0, so that every item can be drawn.
    """

    uniform: float = Field(default=0.5, gt=0, le=1)

    def build(self, store: SequenceStore, split: Split) -> Shown:
        """A sampler of the impressions up to each user's last training event.

        Raises:
            DataError: The store has no impressions.
        """
        user, item = shown_not_taken(store, split)
        return Shown(store.n_items, UserLists.of(user, item, store.n_users), uniform=self.uniform)


class Shown(NegativeSampler):
    """``q(i) = u/N + (1 - u) [i in list of the user]/length``; ``u/N`` becomes ``1/N`` where the list is empty.

    Source: news recommenders such as NPA (Wu et al. 2019, arXiv:1907.05559) draw negatives among items of the target's impression
    that were not clicked. Deviations: those of all impressions of the user, because an event of a log does not know its
    impression; mixed with uniform draws, because a model that never sees what nobody was shown ranks it anyhow.

    Args:
        n_items: Items of the catalogue.
        lists: Different items of each user.
        uniform: Share of uniform draws.
    """

    def __init__(self, n_items: int, lists: UserLists, *, uniform: float = 0.5) -> None:
        super().__init__()
        self.n_items, self.lists, self.uniform = n_items, lists, uniform

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


def shown_not_taken(store: SequenceStore, split: Split) -> tuple[Int64[ndarray, " n"], Int64[ndarray, " n"]]:
    """User and item of impressions up to each user's last training event, without items the user had taken by then.

    An impression counts if it is at or before that event in time, and strictly before the user's first event that is held
    out: what was shown beside a held-out item is not known yet. Taken is what is in the training history or was clicked in an
    impression that counts; what the user takes later stays a negative, because nothing may know of it.

    Raises:
        DataError: The store has no impressions.
    """
    if _TABLE not in store.meta.get("tables", {}):
        do = "Ingest with --impressions FILE, or choose another sampler, such as negatives.class=usermodel.negatives.hard:HardConfig."
        raise DataError(
            "negatives", expected="a store with impressions", found=f"none in {store.path}", do=do
        )
    table = store.table(_TABLE)
    user = table[USER_ROW].to_numpy().astype(np.int64)
    item = table[ITEM_INDEX].to_numpy().astype(np.int64)
    known = table[TIME].to_numpy() < _limits(store, split)[user]
    clicked = known & table[CLICKED].to_numpy()
    taken_user, taken_item = training_events(store, split)
    taken = pl.DataFrame(
        {
            USER_ROW: np.append(taken_user, user[clicked]),
            ITEM_INDEX: np.append(taken_item, item[clicked]),
        }
    )
    shown = pl.DataFrame({USER_ROW: user[known], ITEM_INDEX: item[known]})
    left = shown.join(taken, on=[USER_ROW, ITEM_INDEX], how="anti")
    return left[USER_ROW].to_numpy(), left[ITEM_INDEX].to_numpy()


def _limits(store: SequenceStore, split: Split) -> Int64[ndarray, " users"]:
    """The time before which impressions of each user count; the earliest of all where nothing trains."""
    lowest = np.iinfo(np.int64).min
    if not store.n_events:
        return np.full(store.n_users, lowest)
    times, stop, last = store.times, split.train_stop, store.n_events - 1
    after = times[np.clip(stop - 1, 0, last)] + 1
    held_out = stop < store.offsets[1:]
    following = np.where(held_out, times[np.minimum(stop, last)], np.iinfo(np.int64).max)
    limit: ndarray = np.where(stop > split.start, np.minimum(after, following), lowest)
    return limit
