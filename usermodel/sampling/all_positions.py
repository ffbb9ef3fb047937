"""Whole training histories: every position is an input and, shifted by one, a target."""

from __future__ import annotations

import numpy as np

from usermodel.events.splits import Split
from usermodel.sampling.protocol import Examples, SamplerConfig
from usermodel.store.sequence_store import SequenceStore


class AllPositionsConfig(SamplerConfig):
    """Windows over each user's training history, so that every event but the first is a target once an epoch.

    A history of up to ``max_history`` inputs is one window. A longer one is cut into windows of at most ``max_history``
    inputs; the first window gets a random length, so borders move from epoch to epoch. Neighbouring windows share one
    event: the last target of one is the first input of the next.

    One row per prefix, as several libraries do, computes 50 to 200 times as many positions for the same targets.
    """

    def sample(
        self, store: SequenceStore, split: Split, *, max_history: int, rng: np.random.Generator
    ) -> Examples:
        """Examples of one epoch: ``max_history + 1`` events at most, targets inside, so the target range is empty."""
        size = max_history
        inputs = split.train_stop - split.start - 1
        users = np.flatnonzero(inputs >= 1)
        inputs = inputs[users]
        # Short histories are one window. Long ones begin with a window of 1..size inputs.
        head = np.where(inputs <= size, inputs, rng.integers(1, size + 1, len(users)))
        windows = 1 + (inputs - head + size - 1) // size
        user = np.repeat(users, windows)
        number = np.arange(len(user)) - np.repeat(np.cumsum(windows) - windows, windows)
        first = np.repeat(split.start[users], windows)
        head, inputs = np.repeat(head, windows), np.repeat(inputs, windows)
        start = first + np.where(number == 0, 0, head + (number - 1) * size)
        stop = first + np.minimum(head + number * size, inputs) + 1
        return Examples(user, start, stop, stop, stop, store.times[stop - 1] + 1)
