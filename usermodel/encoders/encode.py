"""The batched encoding loop: many histories -> one matrix of user vectors."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final, TypeVar

import numpy as np
import torch
from jaxtyping import Float32, Int64, Integer
from numpy import ndarray
from torch import Tensor

from usermodel.batch import JaggedBatch, collate
from usermodel.cores import on_cores
from usermodel.encoders.protocol import EncoderModule
from usermodel.errors import DataError, IntegrityError
from usermodel.sampling.protocol import Examples
from usermodel.store.sequences import Sequences

T = TypeVar("T")

#: Events a batch: large enough for the matrix products.
BATCH_EVENTS: Final = 8192
#: The most on a processor, where several batches are computed at once: small enough that all cores have some.
CORE_EVENTS: Final = 4096


def encode(
    encoder: EncoderModule,
    store: Sequences,
    examples: Examples,
    *,
    batch_events: int = BATCH_EVENTS,
    on_progress: Callable[[int, int], None] | None = None,
) -> Float32[ndarray, "n dim"]:
    """Encode the input slices of ``examples``, without dropout and without gradients.

    Histories are encoded in order of length and come back in the order given; vectors are the same bits whatever the number
    of threads. Events of unknown items are skipped: vectors are those of a store without these events.

    Args:
        encoder: Left in the mode it was in.
        store: Holds the events; its vocabulary must extend the encoder's, which whoever holds both has checked.
        examples: Slices of at most ``encoder.max_history`` events of known items.
        batch_events: Events per forward pass, about; on a processor at most `CORE_EVENTS`, a pass on each core.
        on_progress: Called with (histories done, histories in all) after each batch.

    Returns:
        One row per example; zeros for a slice without a known event.

    Raises:
        DataError: A slice is longer than the encoder reads.
        IntegrityError: The store holds an item index that its vocabulary lacks.
    """
    lengths = examples.lengths - store.unknown(encoder.n_items).within(examples.start, examples.stop)
    _require_fit(encoder, lengths)
    out = np.zeros((len(examples), encoder.dim), dtype=np.float32)
    device, done = next(encoder.parameters()).device, 0

    def tell(rows: Int64[ndarray, " batch"]) -> None:
        nonlocal done
        done += len(rows)
        if on_progress is not None:
            on_progress(done, len(examples))

    with _evaluating(encoder):
        users = _prepared(encoder, int(lengths.sum()), device)
        work = partial(_fill, out, users, (store, examples), encoder.n_items, device)
        _each_batch(work, lengths, batch_events, device, tell)
    return out


def encode_once(
    encoder: EncoderModule,
    store: Sequences,
    examples: Examples,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> Float32[ndarray, "n dim"]:
    """As `encode`; slices that several examples share, such as those of all rows between two events of a user, are encoded once."""
    first, place = examples.distinct()
    found: ndarray = encode(encoder, store, examples.take(first), on_progress=on_progress)[place]
    return found


def encode_events(
    encoder: EncoderModule, store: Sequences, examples: Examples, *, batch_events: int = BATCH_EVENTS
) -> Float32[ndarray, "events dim"]:
    """The vector after each event of each slice, slices end to end; as `encode` otherwise.

    For a causal encoder these are the user vectors of all prefixes, in one pass.

    Raises:
        DataError: A slice is longer than the encoder reads, or holds an item that it does not know.
    """
    _require_fit(encoder, examples.lengths)
    offsets = examples.offsets
    out = np.zeros((int(offsets[-1]), encoder.dim), dtype=np.float32)
    device = next(encoder.parameters()).device

    def fill(rows: Int64[ndarray, " batch"]) -> None:
        with torch.inference_mode():
            batch = collate(store, examples.take(rows))
            require_known_items(store, batch.item_index)
            vectors = encoder(batch.to(device)).events.float().cpu().numpy()
        shift = offsets[rows] - batch.offsets[:-1].numpy()
        out[np.repeat(shift, examples.lengths[rows]) + np.arange(len(vectors))] = vectors

    with _evaluating(encoder):
        _each_batch(fill, examples.lengths, batch_events, device, lambda _: None)
    return out


@contextlib.contextmanager
def _evaluating(encoder: EncoderModule) -> Iterator[None]:
    """Without dropout; the encoder is left in the mode it was in."""
    was_training = encoder.training
    encoder.eval()
    try:
        yield
    finally:
        encoder.train(was_training)


def _prepared(encoder: EncoderModule, n_events: int, device: torch.device) -> Callable[[JaggedBatch], Tensor]:
    """What the encoder prepares for all batches; on a processor by one thread, as these: several would round otherwise."""
    found: list[Callable[[JaggedBatch], Tensor]] = []

    def prepare(n: int) -> None:
        with torch.inference_mode():
            found.append(encoder.users_of_many(n))

    (on_cores if device.type == "cpu" else _in_turn)(prepare, [n_events])
    return found[0]


def _each_batch(
    work: Callable[[ndarray], None],
    lengths: Int64[ndarray, " n"],
    batch_events: int,
    device: torch.device,
    on_done: Callable[[ndarray], None],
) -> None:
    """Side by side on a processor, one after the other elsewhere."""
    if device.type == "cpu":
        on_cores(work, batches(lengths, min(batch_events, CORE_EVENTS)), on_done)
    else:
        _in_turn(work, batches(lengths, batch_events), on_done)


def _in_turn(
    work: Callable[[T], None], pieces: Sequence[T], on_done: Callable[[T], None] = lambda _: None
) -> None:
    """As `on_cores`, one after the other: a device has cores of its own."""
    for piece in pieces:
        work(piece)
        on_done(piece)


def _fill(
    out: Float32[ndarray, "n dim"],
    users: Callable[[JaggedBatch], Tensor],
    slices: tuple[Sequences, Examples],
    n_items: int,
    device: torch.device,
    rows: Int64[ndarray, " batch"],
) -> None:
    """Encode one batch into its rows of ``out``."""
    store, examples = slices
    with torch.inference_mode():
        out[rows] = users(known_events(store, examples.take(rows), n_items).to(device)).float().cpu().numpy()


def known_events(store: Sequences, examples: Examples, n_items: int) -> JaggedBatch:
    """The slices, without events of items beyond ``n_items``.

    Raises:
        IntegrityError: The store holds an item index that its vocabulary lacks.
    """
    batch = collate(store, examples)
    require_known_items(store, batch.item_index)
    known = batch.item_index <= n_items
    return batch if bool(known.all()) else batch.select(known)


def batches(
    lengths: Int64[ndarray, " n"], batch_events: int = BATCH_EVENTS
) -> list[Int64[ndarray, " batch"]]:
    """Histories of similar length together, ``batch_events`` events a batch, about; each history is in one batch."""
    order = np.argsort(lengths, kind="stable")
    load = np.cumsum(np.maximum(lengths[order], 1))
    borders = np.flatnonzero(np.diff((load - 1) // batch_events)) + 1
    return np.split(order, borders)


def _require_fit(encoder: EncoderModule, lengths: Int64[ndarray, " n"]) -> None:
    longest = int(lengths.max(initial=0))
    if longest > encoder.max_history:
        expected = f"histories of at most {encoder.max_history:,} events"
        do = "Take the latest events only, as Examples.histories does."
        raise DataError("examples", expected=expected, found=f"one of {longest:,}", do=do)


def require_known_items(store: Sequences, item_index: Integer[Tensor, " events"]) -> None:
    """Raise `IntegrityError` unless every item index is in the store's vocabulary.

    Opening a store does not read its columns. Without this check a damaged one ends in an index error of the item table,
    which on CUDA takes the process with it.
    """
    if not len(item_index):
        return
    low, high = (int(bound) for bound in torch.aminmax(item_index))
    if not 1 <= low <= high <= store.n_items:
        found = f"the index {high if low >= 1 else low}"
        do = "The store is damaged; ingest again."
        raise IntegrityError(
            str(store.path), expected=f"item indices 1 to {store.n_items}", found=found, do=do
        )
