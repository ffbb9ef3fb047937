"""Encoders made of another one: its first layers and the first numbers of its vectors; and one that remembers its passes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from usermodel.batch import JaggedBatch
from usermodel.encoders.catalogue import Catalogue
from usermodel.encoders.protocol import Encoded, EncoderModule
from usermodel.nn.item_features import ItemFeatures


class SubModel(EncoderModule):
    """The first ``depth`` layers of an encoder, and the first ``dim`` numbers of its vectors and of its items.

    It has no weights of its own, and what it gives has a gradient. Trained for by `Matryoshka`.

    Args:
        encoder: The whole one.
        depth: 1 to ``encoder.n_depths``.
        dim: 1 to ``encoder.dim``.
    """

    def __init__(self, encoder: EncoderModule, depth: int, dim: int) -> None:
        super().__init__()
        assert 1 <= depth <= encoder.n_depths, "no such depth"
        assert 1 <= dim <= encoder.dim, "no such width"
        self.encoder, self.depth, self.dim = encoder, depth, dim
        _be_like(self, encoder)

    def forward(self, batch: JaggedBatch) -> Encoded:
        """See `Encoder.__call__`."""
        whole = self.encoder(batch) if self._all_layers else self.encoder.depths(batch)[self.depth - 1]
        return Encoded(whole.events[:, : self.dim], whole.users[:, : self.dim])

    def users(self, batch: JaggedBatch) -> Float[Tensor, "users dim"]:
        """See `EncoderModule.users`."""
        return self.encoder.users(batch)[:, : self.dim] if self._all_layers else self(batch).users

    def item_vectors(self, index: Int64[Tensor, " n"] | None = None) -> Float[Tensor, "n dim"]:
        """See `Encoder.item_vectors`."""
        return self.encoder.item_vectors(index)[:, : self.dim]

    def item_parts(
        self, index: Int64[Tensor, " n"], *, value_dropout: float = 0.0
    ) -> Float[Tensor, "parts n dim"]:
        """See `EncoderModule.item_parts`."""
        return self.encoder.item_parts(index, value_dropout=value_dropout)[..., : self.dim]

    def scored_features(self) -> ItemFeatures | None:
        """See `EncoderModule.scored_features`; those of the whole encoder, with vectors of all its numbers."""
        return self.encoder.scored_features()

    def catalogue(self) -> Catalogue:
        """See `EncoderModule.catalogue`."""
        return self.encoder.catalogue()

    @property
    def _all_layers(self) -> bool:
        return self.depth == self.encoder.n_depths


@dataclass(frozen=True)
class Pass:
    """What went in, what came out of each depth, and the state of the random generators behind it."""

    batch: JaggedBatch
    depths: list[Encoded]
    state: list[Tensor]


class Passes(EncoderModule):
    """An encoder whose passes are kept: asked for the same ones again after `rewind`, it gives what it gave.

    Generators are then put where the pass left them, so that whoever draws between passes draws the same again. What is
    encoded must therefore not depend on vectors that were encoded before.

    Attributes:
        kept: All passes, in turn.
    """

    def __init__(self, encoder: EncoderModule) -> None:
        super().__init__()
        self.encoder, self.dim, self.n_depths = encoder, encoder.dim, encoder.n_depths
        self.kept: list[Pass] = []
        _be_like(self, encoder)
        self._device = next(encoder.parameters()).device
        self._start, self._next = random_state(self._device), 0

    def rewind(self) -> None:
        """The next pass is the first one again, with the generators as they were when this was made."""
        set_random_state(self._start, self._device)
        self._next = 0

    def depths(self, batch: JaggedBatch) -> list[Encoded]:
        """See `EncoderModule.depths`."""
        self._next += 1
        if self._next > len(self.kept):
            depths = self.encoder.depths(batch)
            self.kept.append(Pass(batch, depths, random_state(self._device)))
            return depths
        again = self.kept[self._next - 1]
        assert again.batch.n_events == batch.n_events, "another batch than before"
        set_random_state(again.state, self._device)
        return again.depths

    def forward(self, batch: JaggedBatch) -> Encoded:
        """See `Encoder.__call__`."""
        return self.depths(batch)[-1]

    def item_vectors(self, index: Int64[Tensor, " n"] | None = None) -> Float[Tensor, "n dim"]:
        """See `Encoder.item_vectors`."""
        return self.encoder.item_vectors(index)

    def item_parts(
        self, index: Int64[Tensor, " n"], *, value_dropout: float = 0.0
    ) -> Float[Tensor, "parts n dim"]:
        """See `EncoderModule.item_parts`."""
        return self.encoder.item_parts(index, value_dropout=value_dropout)


def random_state(device: torch.device) -> list[Tensor]:
    """That of the processor's generator and, on a CUDA device, of its own."""
    state = [torch.get_rng_state()]
    return [*state, torch.cuda.get_rng_state(device)] if device.type == "cuda" else state


def set_random_state(state: list[Tensor], device: torch.device) -> None:
    """Undo all draws since `random_state`."""
    torch.set_rng_state(state[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state[1], device)


def _be_like(this: EncoderModule, encoder: EncoderModule) -> None:
    this.n_items, this.max_history, this.causal = encoder.n_items, encoder.max_history, encoder.causal
    this.mask_token, this.training = encoder.mask_token, encoder.training
    this.reads_mask = encoder.reads_mask
