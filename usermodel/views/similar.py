"""What views need that put in other items: which item goes with that of an event, and which events to change."""

from __future__ import annotations

import dataclasses
from typing import Final

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from usermodel.batch import JaggedBatch
from usermodel.errors import ConfigError
from usermodel.views.protocol import order_within

#: The column of a batch with, for each event, the item most similar to its own; 0 = there is none.
SIMILAR: Final = "similar item"


def with_similar(batch: JaggedBatch, most_similar: Int64[Tensor, " table"]) -> JaggedBatch:
    """The batch with the most similar item of each event; ``most_similar`` says it by item index, 0 = none."""
    return dataclasses.replace(batch, features={**batch.features, SIMILAR: most_similar[batch.item_index]})


def without_similar(batch: JaggedBatch) -> JaggedBatch:
    """The batch as `with_similar` found it, as far as its columns go."""
    columns = {name: column for name, column in batch.features.items() if name != SIMILAR}
    return dataclasses.replace(batch, features=columns)


def similar_items(batch: JaggedBatch) -> Int64[Tensor, " events"]:
    """The most similar item of each event.

    Raises:
        ConfigError: The batch does not say.
    """
    if SIMILAR not in batch.features:
        expected, do = "batches that say which items are similar", "Choose other views, or objective CoSeRec."
        raise ConfigError("objective.view", expected=expected, found="batches without that", do=do)
    return batch.features[SIMILAR]


def picked(batch: JaggedBatch, ratio: float, chosen: Bool[Tensor, " users"]) -> Bool[Tensor, " events"]:
    """``max(1, floor(ratio n))`` of the n events of each chosen user, uniformly, among those that have a similar item.

    Hidden events are not picked: the encoder does not see their items. Users with fewer such events have all of them picked.
    """
    able = similar_items(batch) > 0
    if batch.masked is not None:
        able &= ~batch.masked
    n = torch.floor(batch.lengths.double() * ratio).long().clamp(min=1) * chosen
    # Those that cannot be changed come last.
    keys = torch.rand(batch.n_events, dtype=torch.float64, device=able.device) + (~able).double()
    found = torch.zeros_like(able)
    found[order_within(keys, batch)] = batch.position < n[batch.user_of_event]
    return found & able
