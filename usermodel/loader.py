"""Which examples form which batch: a pure function of (seed, epoch, step, rank), so a resumed run needs no loader state."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

# One word per kind of randomness, so that two streams of one seed never coincide.
_STREAMS = {"sample": 0, "order": 1, "step": 2, "init": 3, "views": 4}


def generator(seed: int, stream: str, *counters: int) -> np.random.Generator:
    """A generator that depends on nothing but its arguments."""
    return np.random.default_rng([seed, _STREAMS[stream], *counters])


def step_seed(seed: int, step: int, part: int = 0) -> int:
    """Seed of everything random inside one part of an optimiser step (dropout, views): a 63-bit integer."""
    return int(generator(seed, "step", step, part).integers(2**63 - 1))


def cut(lengths: Int64[ndarray, " n"], parts: int) -> list[Int64[ndarray, " part"]]:
    """Deal the examples of a batch among ranks and accumulation steps.

    They are dealt by falling length, to and fro, so that the events of two parts differ by at most the longest example.

    Returns:
        Example numbers of each part; every example is in exactly one, and parts may be empty.
    """
    if parts == 1:
        return [np.arange(len(lengths))]
    order = np.argsort(-lengths, kind="stable")
    place = np.arange(len(order)) % (2 * parts)
    owner = np.minimum(place, 2 * parts - 1 - place)
    return [order[owner == part] for part in range(parts)]


def epoch_batches(
    lengths: Int64[ndarray, " n"], *, seed: int, epoch: int, batch_users: int | None, batch_events: int | None
) -> list[Int64[ndarray, " batch"]]:
    """Shuffle the examples of an epoch and cut them into batches.

    Args:
        lengths: Events of each example.
        seed: Seed of the run.
        epoch: Number of the epoch, from 0.
        batch_users: Examples a batch; the last batch may be smaller.
        batch_events: Events a batch, about: a border lies where the running sum passes a multiple. Used when
            ``batch_users`` is None.

    Returns:
        Example numbers of each batch; every example is in exactly one.
    """
    order = generator(seed, "order", epoch).permutation(len(lengths))
    if batch_users is not None:
        borders = np.arange(batch_users, len(order), batch_users)
    else:
        assert batch_events is not None
        # The running sum before an example decides its batch, so one giant example never splits or empties a batch.
        batch = (np.cumsum(lengths[order]) - lengths[order]) // batch_events
        borders = np.flatnonzero(np.diff(batch)) + 1
    return [part for part in np.split(order, borders) if len(part)]
