"""User vectors that learn together with a head: rows are encoded anew in every step, and gradients reach the encoder."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from jaxtyping import Float, Float32, Int64
from numpy import ndarray
from torch import Tensor, nn

from usermodel.encoders.encode import encode_once, known_events
from usermodel.encoders.protocol import EncoderModule
from usermodel.errors import ConfigError, DataError
from usermodel.heads.row_inputs import RowBatch
from usermodel.store.sequence_store import SequenceStore
from usermodel.tasks.row_features import RowFeatures
from usermodel.tasks.rows import Rows


class LiveVectors(nn.Module):
    """The vectors of rows by a copy of an encoder, on the scale that the frozen ones were brought to.

    Args:
        encoder: Where it starts; it is copied.
        store: Holds the histories.
        rows: Whose vectors.
        features: Fitted with the encoder's first vectors.

    Raises:
        DataError: Features that were fitted without vectors.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self, encoder: EncoderModule, store: SequenceStore, rows: Rows, features: RowFeatures
    ) -> None:
        super().__init__()
        if features.of_vectors is None:
            do = "Give the vectors that the encoder has at first."
            raise DataError("vectors", expected="one for each row", found="none", do=do)
        self.encoder = copy.deepcopy(encoder)
        self.store = store
        self.examples = rows.examples(store, encoder.max_history, encoder.n_items)
        device = next(encoder.parameters()).device
        for name, value in zip(("mean", "scale"), features.of_vectors, strict=True):
            self.register_buffer(name, torch.from_numpy(value).to(device), persistent=False)

    def forward(self, at: Int64[Tensor, " n"]) -> Float[Tensor, "n dim"]:
        """Of the rows at some positions; each history is encoded once."""
        examples = self.examples.take(at.cpu().numpy())
        first, place = examples.distinct()
        batch = known_events(self.store, examples.take(first), self.encoder.n_items)
        users = self.encoder(batch.to(self.mean.device)).users
        found: Tensor = ((users - self.mean) / self.scale)[torch.from_numpy(place).to(users.device)]
        return found.to(at.device)

    def take(self, batch: RowBatch, at: Int64[Tensor, " n"]) -> RowBatch:
        """The rows at some positions, with the vectors that they have now."""
        return replace(batch.take(at), vectors=self(at))

    def vectors(self, at: Int64[ndarray, " n"] | None = None) -> Float32[ndarray, "n dim"]:
        """Of the rows at some positions, or of all, as `encode` gives them: without gradients and in batches, however many."""
        examples = self.examples if at is None else self.examples.take(at)
        return encode_once(self.encoder, self.store, examples)

    def scaled(self, at: Int64[ndarray, " n"]) -> Float[Tensor, "n dim"]:
        """`vectors` on the scale of the head."""
        return (torch.from_numpy(self.vectors(at)) - self.mean.cpu()) / self.scale.cpu()


def live_vectors(
    encoder: EncoderModule | None, store: SequenceStore, rows: Rows, features: RowFeatures
) -> LiveVectors:
    """Of the encoder that a task which fine-tunes was given.

    Raises:
        ConfigError: None was.
        DataError: See `LiveVectors`.
    """
    if encoder is None:
        do = "Pass it, or use evaluate_rows, which does."
        raise ConfigError("fine_tune", expected="the encoder of the vectors", found="none", do=do)
    return LiveVectors(encoder, store, rows, features)


def refuse_to_keep(*, fine_tune: bool) -> None:
    """Raise `ConfigError` for a head that learned with an encoder: nothing keeps that encoder."""
    if fine_tune:
        do = "Keep a head on the vectors as they are."
        raise ConfigError("fine_tune", expected="a head that is not kept", found="one that is", do=do)


class Learner(nn.Module):
    """What learns: a head, and the encoder where it does, too; and the rows that they read.

    Args:
        head: Reads rows.
        batch: All rows.
        live: None for vectors that stay as they are.
    """

    def __init__(self, head: nn.Module, batch: RowBatch, live: LiveVectors | None) -> None:
        super().__init__()
        self.head, self.live = head, live
        self.batch = batch

    def take(self, at: Int64[Tensor, " n"]) -> RowBatch:
        """The rows at some positions, with the vectors that they have now."""
        return self.batch.take(at) if self.live is None else self.live.take(self.batch, at)

    def held_out(self, at: Int64[ndarray, " n"]) -> RowBatch:
        """The same of many rows, without gradients."""
        rows = self.batch.take(torch.from_numpy(at))
        return rows if self.live is None else replace(rows, vectors=self.live.scaled(at))
