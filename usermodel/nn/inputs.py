"""What is known of an event beside its item: event type, time since the previous event, watch time."""

from __future__ import annotations

from typing import Final, Literal

import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor, nn

from usermodel.batch import JaggedBatch
from usermodel.config import Config
from usermodel.errors import DataError
from usermodel.nn.buckets import MOST_BUCKETS, log_buckets
from usermodel.schema import EVENT_TYPE, WATCH_TIME

_TIME_GAP: Final = "time_gap"


class ItemInputsConfig(Config):
    """What an encoder knows of items beside their ids; nothing unless it is named.

    Attributes:
        item_features: Columns of the items table whose vectors are added to those of the items.
        score_item_features: Add the same vectors where items are scored, so that both sides stay one table.
    """

    item_features: tuple[str, ...] = ()
    score_item_features: bool = False


class InputsConfig(ItemInputsConfig):
    """What an encoder reads beside the item of an event; nothing unless it is named.

    Attributes:
        item_features: See `ItemInputsConfig`.
        score_item_features: See `ItemInputsConfig`.
        event_type: A vector per event type.
        time_gap_buckets: A vector per bucket of the seconds since the previous event of the slice; see `log_buckets`.
            The first event has none.
        watch_time_buckets: A vector per bucket of the milliseconds watched.
        merge: ``sum`` adds these vectors to the item's; ``gated`` multiplies each by ``sigmoid(W [item, vector] + b)``
            first.
    """

    event_type: bool = False
    time_gap_buckets: int = Field(default=0, ge=0, le=MOST_BUCKETS)
    watch_time_buckets: int = Field(default=0, ge=0, le=MOST_BUCKETS)
    merge: Literal["sum", "gated"] = "sum"

    @property
    def any_of_events(self) -> bool:
        """Whether events have inputs beside their item."""
        return bool(self.event_type or self.time_gap_buckets or self.watch_time_buckets)


class EventInputs(nn.Module):
    """Adds what is known of each event to the vector of its item; row 0 of each table is "unknown" and stays zero.

    Args:
        config: Which inputs.
        dim: Width of a vector.
        n_event_types: Event types known; a later one is unknown.
    """

    def __init__(self, config: InputsConfig, dim: int, n_event_types: int) -> None:
        super().__init__()
        sizes = {
            EVENT_TYPE: n_event_types if config.event_type else 0,
            _TIME_GAP: config.time_gap_buckets,
            WATCH_TIME: config.watch_time_buckets,
        }
        self.sizes = {name: size for name, size in sizes.items() if size}
        self.tables = nn.ModuleDict(
            {name: nn.Embedding(size + 1, dim, padding_idx=0) for name, size in self.sizes.items()}
        )
        gated = self.sizes if config.merge == "gated" else {}
        self.gates = nn.ModuleDict({name: nn.Linear(2 * dim, dim) for name in gated})

    def forward(self, items: Float[Tensor, "events dim"], batch: JaggedBatch) -> Float[Tensor, "events dim"]:
        """The sum for each event.

        Raises:
            DataError: The batch lacks a column.
        """
        total = items
        for name, table in self.tables.items():
            part = table(self._codes(name, batch))
            if name in self.gates:
                part = torch.sigmoid(self.gates[name](torch.cat([items, part], dim=1))) * part
            total = total + part
        return total

    def _codes(self, name: str, batch: JaggedBatch) -> Int64[Tensor, " events"]:
        size = self.sizes[name]
        if name == _TIME_GAP:
            gap = batch.timestamps_s.diff(prepend=batch.timestamps_s[:1])
            return (log_buckets(gap, size) + 1) * (batch.position > 0)
        if name not in batch.features:
            found = ", ".join(batch.features) or "none"
            do = "Encode events that have the column, or train an encoder without it."
            raise DataError(name, expected="a column of the events", found=found, do=do)
        column = batch.features[name].long()
        if name == EVENT_TYPE:
            return column * ((column >= 0) & (column <= size))
        return (log_buckets(column, size) + 1) * (column >= 0)
