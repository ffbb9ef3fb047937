"""A mask token behind a history, where BERT4Rec reads what comes next: an event of which nothing is known but its place."""

from __future__ import annotations

import dataclasses
from typing import Final

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

from usermodel.batch import JaggedBatch
from usermodel.nn.padded import PaddedBatch
from usermodel.schema import WATCH_TIME

#: Where 0 is a value, what stands for none.
_NO_VALUE: Final = {WATCH_TIME: -1}


def hide_all_of(batch: JaggedBatch, events: Bool[Tensor, " events"]) -> JaggedBatch:
    """A batch that tells of some events only that they come next: no item, no further column, the time of the one before.

    Args:
        batch: Histories.
        events: Which; never the first of a user, nor two in a row.
    """
    times = torch.where(events, batch.timestamps_s.roll(1), batch.timestamps_s)
    masked = events if batch.masked is None else batch.masked | events
    features = {name: _without(name, column, events) for name, column in batch.features.items()}
    return dataclasses.replace(batch, timestamps_s=times, features=features, masked=masked)


def mask_behind(batch: JaggedBatch) -> JaggedBatch:
    """One event more, of which nothing is known, behind each history that has any."""
    filled = batch.lengths > 0
    last = batch.offsets[1:][filled] - 1
    # The last event twice, and then all of the second hidden.
    copies = torch.ones_like(batch.item_index).index_fill_(0, last, 2)
    rows = torch.repeat_interleave(copies, output_size=batch.n_events + len(last))
    added = torch.zeros_like(rows, dtype=torch.bool).index_fill_(0, copies.cumsum(0)[last] - 1, True)
    lengths = batch.lengths + filled
    offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    return hide_all_of(batch.rows(rows, offsets), added)


def mask_behind_padded(batch: PaddedBatch) -> PaddedBatch:
    """`mask_behind` of a rectangle in which no item is hidden; it becomes one event wider."""
    real = batch.real
    last = real.sum(1, keepdim=True).clamp(min=1) - 1
    behind = torch.arange(batch.width + 1, device=real.device) == last + 1

    def wider(column: Shaped[Tensor, " rows"]) -> Shaped[Tensor, "users width"]:
        own = batch.rectangle(column)
        return torch.where(behind, own.gather(1, last), torch.cat([own, own[:, -1:]], dim=1))

    # Any item, as it is not seen, but of an event: for a user without one that of item 1.
    items = torch.where(behind, 1, torch.cat([batch.rectangle(batch.item_index), real[:, :1] * 0], dim=1))
    features = {name: _without(name, wider(column), behind) for name, column in batch.features.items()}
    made = PaddedBatch.of(items, wider(batch.timestamps_s), features)
    return dataclasses.replace(made, masked=behind.reshape(-1))


def _without(name: str, column: Tensor, events: Tensor) -> Tensor:
    return column.masked_fill(events, _NO_VALUE.get(name, 0))
