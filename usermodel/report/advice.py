"""One line of advice for each figure about vectors, chosen by where its value stands.

The bounds are rules of thumb: they say where to look, not what is wrong.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

#: Figure -> (from which measure on, advice), rising. What the measure is stands above each.
_ADVICE: Final[dict[str, tuple[tuple[float, str], ...]]] = {
    # over the number of dimensions
    "effective_rank": (
        (-math.inf, "All vectors are equal: the encoder tells nothing apart."),
        (1e-9, "Differences lie in few dimensions: compare with a lower learning rate or more training."),
        (0.1, "Differences lie in a part of the dimensions: a smaller encoder.dim may serve as well."),
        (0.5, "Differences use most dimensions: nothing to do."),
    ),
    # over that of points spread evenly
    "uniformity": (
        (-math.inf, "Nearly one direction: cosines tell little apart; subtract the mean, or train longer."),
        (0.1, "Crowded on a part of the sphere: shared_length and effective_rank say along what."),
        (0.5, "Spread over the sphere: nothing to do."),
    ),
    "shared_length": (
        (-math.inf, "Little in common: nothing to do."),
        (0.25, "All vectors share a direction: subtract their mean before comparing by cosine."),
    ),
    "norm_variation": (
        (-math.inf, "Lengths are much alike: cosine and inner product order neighbours about the same."),
        (0.3, "Lengths differ: cosine and inner product order differently; scores are inner products."),
    ),
    # over the number of dimensions
    "dead_dimensions": (
        (-math.inf, "Every coordinate varies: nothing to do."),
        (1e-9, "Some coordinates hardly vary: they take room and say nothing; compare with a smaller encoder.dim."),
    ),
    "users.exact_duplicates": (
        (-math.inf, "Hardly any equal vectors: nothing to do."),
        (0.01, "Users whose latest known events are the same have one vector: further inputs, or a longer max_history, tell them apart."),
    ),
    "items.exact_duplicates": (
        (-math.inf, "Hardly any equal vectors: nothing to do."),
        (0.01, "Some items have one vector: look whether they ever occur in training."),
    ),
    "users.near_duplicates": (
        (-math.inf, "Few users are almost another one: nothing to do."),
        (0.05, "Some users are almost another one: short histories are the usual reason; compare n_events."),
        (0.3, "Many users are almost another one: which of them is nearest is chance; look at effective_rank."),
    ),
    "items.near_duplicates": (
        (-math.inf, "Few items are almost another one: nothing to do."),
        (0.05, "Some items are almost another one: variants of one product, or items with few events."),
        (0.3, "Many items are almost another one: their order is chance; look at effective_rank."),
    ),
    # over that at chance
    "alignment": (
        (-math.inf, "Users lie near their latest item: nothing to do."),
        (0.5, "Users lie nearer to their latest item than by chance, as is common where the next one is another."),
        (0.95, "Users lie no nearer to their latest item than to that of others: expected of an encoder that is not trained."),
    ),
    "popularity_r2": (
        (-math.inf, "Item vectors hardly say how frequent an item is."),
        (0.1, "Item vectors say in part how frequent an item is: that helps recall and mixes into similarity."),
        (0.5, "Item vectors say largely how frequent an item is: for similar items, compare by cosine and look at rare ones."),
    ),
    "popularity_r2_of_norm": (
        (-math.inf, "Lengths of item vectors hardly say how frequent an item is."),
        (0.1, "Lengths of item vectors say in part how frequent an item is: cosine takes that away."),
        (0.5, "Lengths of item vectors say largely how frequent an item is: cosine takes that away."),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """A figure, what to hold it against, and what to make of it.

    Attributes:
        group: ``users``, ``items`` or ``pairs`` (of both).
        name: Of the figure.
        value: Its value.
        reference: The value that it is held against, if any: the number of dimensions, that of an even spread, that at chance.
        beside: What ``reference`` is.
    """

    group: str
    name: str
    value: float
    reference: float | None = None
    beside: str = ""

    @property
    def advice(self) -> str:
        """The line for the highest bound that the measure reaches."""
        measure = self.value / self.reference if self.reference else self.value
        levels = _ADVICE.get(self.name) or _ADVICE[f"{self.group}.{self.name}"]
        return next(text for bound, text in reversed(levels) if measure >= bound)

    def row(self) -> tuple[str, str, float, str, str]:
        """Cells of a table: vectors, figure, value, what it is held against, advice."""
        beside = "" if self.reference is None else f"{self.beside} {self.reference:.4g}"
        return self.group, self.name, round(float(self.value), 4), beside, self.advice

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; a reference under the name of what it is."""
        data: dict[str, Any] = {"value": self.value}
        if self.reference is not None:
            data[self.beside] = self.reference
        return data | {"advice": self.advice}
