"""Vectors of users after a part of their histories, for samplers that follow the encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from usermodel.batch import collate
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore

if TYPE_CHECKING:
    from numpy import ndarray

    from usermodel.encoders.protocol import EncoderModule

#: Events a pass, about.
BATCH_EVENTS: Final = 8192


@torch.no_grad()
def history_vectors(
    encoder: EncoderModule, store: SequenceStore, users: Int64[ndarray, " n"], stop: Int64[ndarray, " n"]
) -> Float32[Tensor, "n dim"]:
    """What an encoder knows of each user before store row ``stop``, on its device, without dropout and gradients.

    Args:
        encoder: Left in the mode it was in.
        store: Holds the events.
        users: Numbers of users.
        stop: Row after the last event read, for each; of earlier ones the encoder reads the latest ``max_history``.
    """
    examples = Examples.histories(store, users, stop, encoder.max_history)
    device = next(encoder.parameters()).device
    out = torch.zeros(len(users), encoder.dim, device=device)
    order = np.argsort(examples.lengths, kind="stable")
    was_training = encoder.training
    encoder.eval()
    try:
        for rows in in_parts(order, np.maximum(examples.lengths[order], 1), BATCH_EVENTS):
            batch = collate(store, examples.take(rows)).to(device)
            out[torch.from_numpy(rows).to(device)] = encoder.users(batch).float()
    finally:
        encoder.train(was_training)
    return out


def in_parts(
    order: Int64[ndarray, " n"], cost: Int64[ndarray, " n"], budget: int
) -> list[Int64[ndarray, " part"]]:
    """Neighbours in ``order`` together, so that a part costs ``budget``, about; no part for nothing."""
    borders = np.flatnonzero(np.diff((np.cumsum(cost) - 1) // budget)) + 1
    return np.split(order, borders) if len(order) else []
