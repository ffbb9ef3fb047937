"""What `usermodel.report.describe` finds: facts for machines, pictures for people, figures with advice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy import ndarray

from usermodel.report.advice import Finding


@dataclass(frozen=True)
class Description:
    """Facts for machines and pictures for people.

    Attributes:
        kind: What the artefact is.
        facts: Flat, JSON-ready.
        pictures: Title -> one (label, count) per bar.
        health: Figures about vectors, each with a line of advice.
    """

    kind: str
    facts: dict[str, Any]
    pictures: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    health: Sequence[Finding] = ()

    def to_dict(self) -> dict[str, Any]:
        """All but the pictures, JSON-ready; figures under ``health``, then ``users``, ``items`` or ``pairs``, then their name."""
        data = {"kind": self.kind} | self.facts
        if self.health:
            groups: dict[str, Any] = {}
            for one in self.health:
                groups.setdefault(one.group, {})[one.name] = one.to_dict()
            data["health"] = groups
        return data


def spread(name: str, values: ndarray) -> dict[str, float]:
    """Mean, median, 99th percentile and extremes; nothing of no values."""
    if not len(values):
        return {}
    facts = {
        "min": values.min(),
        "median": np.median(values),
        "mean": values.mean(),
        "p99": np.quantile(values, 0.99),
        "max": values.max(),
    }
    return {f"{name}_{key}": round(float(value), 4) for key, value in facts.items()}
