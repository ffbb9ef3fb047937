"""The user vectors that an objective with labels learns from."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from usermodel.batch import JaggedBatch
from usermodel.encoders.protocol import EncoderModule


def user_vectors(encoder: EncoderModule, batch: JaggedBatch, *, freeze: bool) -> Float[Tensor, "users dim"]:
    """Of all users of a batch.

    Args:
        encoder: Finds them.
        batch: Histories.
        freeze: No gradient reaches the encoder, and it has no dropout: its vectors are those that `encode` finds.
    """
    if not freeze:
        vectors: Tensor = encoder(batch).users
        return vectors
    was_training = encoder.training
    encoder.eval()
    try:
        with torch.no_grad():
            return encoder.users(batch)
    finally:
        encoder.train(was_training)
