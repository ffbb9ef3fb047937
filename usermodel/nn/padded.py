"""Histories as one rectangle: for graphs of fixed operations, which cannot group users by length."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

from usermodel.batch import JaggedBatch
from usermodel.nn.pooling import Pooling
from usermodel.nn.ragged import Layout, Rectangle


@dataclass(frozen=True)
class PaddedBatch(JaggedBatch):
    """A `JaggedBatch` in which every user owns ``width`` rows: its events, then padding, whose item is 0.

    Lengths and places are those of the events: the padding repeats the place of the last one. A user without events counts
    as one whose only event is of the padding, so that no softmax or mean is over nothing; its vector means nothing.

    Sizes are read from shapes and never asked for, because in a graph they are symbols.
    """

    offsets: Int64[Tensor, " borders"]
    width: int = 1

    @staticmethod
    def of(
        item_index: Int64[Tensor, "users time"],
        timestamps_s: Int64[Tensor, "users time"],
        features: dict[str, Shaped[Tensor, "users time"]],
    ) -> PaddedBatch:
        """Rectangles laid out row by row; each row begins with its oldest event and ends with padding."""
        users, width = item_index.shape
        offsets = torch.arange(users + 1, device=item_index.device) * width
        columns = {name: column.reshape(-1) for name, column in features.items()}
        return PaddedBatch(item_index.reshape(-1), timestamps_s.reshape(-1), offsets, columns, width=width)

    @property
    def n_users(self) -> int:
        """See `JaggedBatch.n_users`."""
        return self.offsets.shape[0] - 1

    @property
    def n_events(self) -> int:
        """Rows, those of the padding among them."""
        return self.item_index.shape[0]

    @property
    def real(self) -> Bool[Tensor, "users width"]:
        """Where there is an event."""
        return self.rectangle(self.item_index) != 0

    @property
    def lengths(self) -> Int64[Tensor, " users"]:
        """Events of each user, at least 1."""
        return self.real.sum(1).clamp(min=1)

    @property
    def user_of_event(self) -> Int64[Tensor, " rows"]:
        """The user that owns each row."""
        users = torch.arange(self.n_users, device=self.offsets.device)
        return users[:, None].expand(-1, self.width).reshape(-1)

    @property
    def position(self) -> Int64[Tensor, " rows"]:
        """Place of each event in its user's slice, 0 = oldest; of the padding that of the last event."""
        places = torch.arange(self.width, device=self.offsets.device)
        return torch.minimum(places, self.lengths[:, None] - 1).reshape(-1)

    @property
    def layout(self) -> Layout:
        """One rectangle that is the batch as it is."""
        return _Whole(self.offsets[:0], (Rectangle(0, self.n_users, self.width, self.lengths),))

    def rectangle(self, rows: Shaped[Tensor, " rows *d"]) -> Shaped[Tensor, " users width *d"]:
        """One value a row as one row a user."""
        return rows.reshape(self.n_users, self.width, *rows.shape[1:])


@dataclass(frozen=True)
class _Whole(Layout):
    """Every row is where it has to be."""

    def pad(self, x: Shaped[Tensor, "events d"]) -> Shaped[Tensor, "slots d"]:
        return x

    def unpad(self, x: Shaped[Tensor, "slots d"]) -> Shaped[Tensor, "events d"]:
        return x


def pool(pooling: Pooling, rows: Float[Tensor, "rows dim"], batch: PaddedBatch) -> Float[Tensor, "users dim"]:
    """What `Pooling` makes of the same events without padding."""
    x, last = batch.rectangle(rows), batch.lengths[:, None] - 1
    if pooling.readout == "last":
        return x.gather(1, last[:, :, None].expand(-1, 1, x.shape[2]))[:, 0]
    seen = torch.arange(batch.width, device=rows.device) <= last
    if pooling.query is None:
        return torch.where(seen[:, :, None], x, 0).sum(1) / batch.lengths[:, None]
    score = (x * pooling.query).sum(2).masked_fill(~seen, -torch.inf)
    return (torch.softmax(score, dim=1)[:, :, None] * x).sum(1)
