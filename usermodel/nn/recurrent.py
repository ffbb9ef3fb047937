"""Recurrent layers on ragged batches: packed sequences, so no step is spent on padding."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from usermodel.nn.ragged import take_once


@dataclass(frozen=True)
class Packing:
    """Events in the order in which a recurrent network reads them: all first ones, all second ones, and so on.

    Users stand in order of falling length, so those still running at a step are the first ones. Made once per batch and
    shared by all layers.

    Attributes:
        order: Event at each packed place.
        place: Packed place of each event.
        users: Users with events, the longest first.
        sizes: Users still running at each step, on the CPU.
    """

    order: Int64[Tensor, " events"]
    place: Int64[Tensor, " events"]
    users: Int64[Tensor, " running"]
    sizes: Int64[Tensor, " steps"]

    @staticmethod
    def of(offsets: Int64[Tensor, " borders"]) -> Packing:
        """Group the events of a batch by their place in the history."""
        lengths, device = offsets.diff(), offsets.device
        ranked = torch.argsort(lengths, descending=True, stable=True)
        n_users, n_events = len(lengths), int(offsets[-1])
        rank = torch.empty_like(ranked).index_copy_(0, ranked, torch.arange(n_users, device=device))
        owner = torch.repeat_interleave(torch.arange(n_users, device=device), lengths, output_size=n_events)
        position = torch.arange(n_events, device=device) - offsets[:-1][owner]
        order = torch.argsort(position * n_users + rank[owner])
        place = torch.empty_like(order).index_copy_(0, order, torch.arange(n_events, device=device))
        return Packing(order, place, ranked[lengths[ranked] > 0], torch.bincount(position).cpu())

    def pack(self, x: Shaped[Tensor, "events d"]) -> PackedSequence:
        """Events -> the input of a recurrent layer."""
        return PackedSequence(take_once(x, self.order), self.sizes)

    def unpack(self, x: PackedSequence) -> Shaped[Tensor, "events d"]:
        """The output of a recurrent layer -> events."""
        return take_once(x.data, self.place)


class GruLayer(nn.GRU):
    """One layer of gated recurrent units (Cho et al. 2014), always in the type of its weights: autocast would mix types.

    Args:
        dim: Width of the input.
        hidden: Width of the state.
        bias: Whether the gates have biases.
    """

    def __init__(self, dim: int, hidden: int, *, bias: bool) -> None:
        super().__init__(dim, hidden, bias=bias)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return next(self.parameters()).dtype

    def run(
        self,
        x: Float[Tensor, "events dim"],
        packing: Packing,
        start: Float[Tensor, "running hidden"] | None = None,
    ) -> Float[Tensor, "events hidden"]:
        """The state after each event.

        Args:
            x: Inputs; at least one event.
            packing: Of the batch.
            start: State of each user of ``packing.users`` before its first event; None means zeros.
        """
        with torch.autocast(x.device.type, enabled=False):
            out, _ = self(packing.pack(x.to(self.dtype)), None if start is None else start[None])
        return packing.unpack(out)

    def after(self, x: Float[Tensor, "steps dim"]) -> Float[Tensor, "steps+1 hidden"]:
        """The states along one sequence that begins at zero: before the first step, and after each."""
        with torch.autocast(x.device.type, enabled=False):
            out, _ = self(x.to(self.dtype))
        return torch.cat([out.new_zeros(1, self.hidden_size), out])
