"""What trainers of small models keep of their epochs: a report of each, and the weights of the best validation so far."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn


@dataclass(frozen=True)
class EpochReport:
    """An epoch that is done.

    Attributes:
        epoch: Its number, from 1.
        loss: Mean over what was trained on, with penalties.
        seconds: Of training alone.
        validation: What validation said; None where it was not asked.
    """

    epoch: int
    loss: float
    seconds: float
    validation: float | None = None


@dataclass
class Fitted:
    """What training has been.

    Attributes:
        epochs: A report each.
        best_epoch: Epoch whose weights the model has: that of the best validation, or the last.
    """

    epochs: list[EpochReport] = field(default_factory=list)
    best_epoch: int = 0

    @property
    def seconds(self) -> float:
        """Of training alone."""
        return sum(one.seconds for one in self.epochs)


@dataclass
class BestWeights:
    """Asks for a value, keeps the weights of the best, and counts how often none was better.

    Attributes:
        parts: Modules whose weights belong together.
        validate: Higher is better; None is never asked.
        value: The best so far.
        epoch: When it was found; 0 before.
        waited: Validations since.
    """

    parts: Sequence[nn.Module]
    validate: Callable[[], float] | None
    value: float = -math.inf
    epoch: int = 0
    waited: int = 0
    _weights: list[dict[str, Tensor]] = field(default_factory=list)

    def ask(self, epoch: int) -> float | None:
        """Validate without dropout; None where nobody does."""
        if self.validate is None:
            return None
        for part in self.parts:
            part.eval()
        value = self.validate()
        self.waited += 1
        if value > self.value:
            self.value, self.epoch, self.waited = value, epoch, 0
            self._weights = [copy.deepcopy(part.state_dict()) for part in self.parts]
        return value

    def restore(self) -> int:
        """Load them; the epoch they are of, or 0 where nobody validates."""
        for part, weights in zip(self.parts, self._weights, strict=False):
            part.load_state_dict(weights)
        return self.epoch
