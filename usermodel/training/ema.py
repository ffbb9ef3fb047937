"""An exponential moving average of the encoder's weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn


class Ema:
    """``a <- d a + (1 - d) w`` after each step, with ``d = min(decay, (1 + t) / (10 + t))`` at step t.

    The smaller decay of the first steps forgets the random weights that the average began with (as in TensorFlow's
    ExponentialMovingAverage).

    Args:
        module: Its floating-point weights are averaged; other buffers are copied.
        decay: 0 means no average: nothing is kept and nothing happens.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module, self.decay = module, decay
        self.live: dict[str, Tensor] = dict(module.state_dict()) if decay else {}
        self.restart()

    def restart(self) -> None:
        """Begin anew with the weights as they are."""
        self.average = {name: value.detach().clone() for name, value in self.live.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after step number ``step``, from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        pairs = [(self.average[name], live.detach()) for name, live in self.live.items()]
        floats = [pair for pair in pairs if pair[1].is_floating_point()]
        if floats:
            averages, values = zip(*floats, strict=True)
            torch._foreach_lerp_(list(averages), list(values), 1.0 - decay)
        for average, value in pairs:
            if not value.is_floating_point():
                average.copy_(value)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """The module holds the average inside, and its own weights, bit for bit, afterwards."""
        kept = {name: value.detach().clone() for name, value in self.live.items()}
        if self.decay:
            self.module.load_state_dict(self.average)
        try:
            yield
        finally:
            if self.decay:
                self.module.load_state_dict(kept)
