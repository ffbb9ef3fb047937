"""The batched encoding loop: many histories -> one matrix of user vectors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float32
from numpy import ndarray

from usermodel.batch import collate
from usermodel.encoders.protocol import EncoderModule
from usermodel.errors import MismatchError
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore

#: Events a batch: large enough for the matrix products, small enough for the cache.
BATCH_EVENTS = 8192


def encode(
    encoder: EncoderModule,
    store: SequenceStore,
    examples: Examples,
    *,
    batch_events: int = BATCH_EVENTS,
    on_progress: Callable[[int, int], None] | None = None,
) -> Float32[ndarray, "n dim"]:
    """Encode the input slices of ``examples``, without dropout and without gradients.

    Histories are encoded in order of length, so that a batch wastes little on padding, and come back in the order given.

    Args:
        encoder: Left in the mode it was in.
        store: Holds the events; its items must be known to the encoder.
        examples: Slices of at most ``encoder.max_history`` events.
        batch_events: Events per forward pass, about.
        on_progress: Called with (histories done, histories in all) after each batch.

    Returns:
        One row per example; zeros for an empty slice.
    """
    if store.n_items > encoder.n_items:
        found = f"{store.n_items:,} items in the store"
        raise MismatchError("encoder", expected=f"at most {encoder.n_items:,} items", found=found, do="Use the store it was trained on.")
    out = np.zeros((len(examples), encoder.dim), dtype=np.float32)
    order = np.argsort(examples.lengths, kind="stable")
    load = np.cumsum(np.maximum(examples.lengths[order], 1))
    borders = np.flatnonzero(np.diff((load - 1) // batch_events)) + 1
    was_training = encoder.training
    encoder.eval()
    device = next(encoder.parameters()).device
    done = 0
    try:
        with torch.inference_mode():
            for rows in np.split(order, borders):
                batch = collate(store, examples.take(rows)).to(device)
                out[rows] = encoder(batch).users.float().cpu().numpy()
                done += len(rows)
                if on_progress is not None:
                    on_progress(done, len(examples))
    finally:
        encoder.train(was_training)
    return out
