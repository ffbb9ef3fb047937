"""The weights of the best validation so far, for trainers that go on beyond it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn


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
