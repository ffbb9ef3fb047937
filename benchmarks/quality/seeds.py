"""What several seeds say together."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from scipy import stats


def interval(values: list[float]) -> dict[str, Any]:
    """Mean, and half of its 95 % interval (Student's t); None for one value."""
    n = len(values)
    half = float(stats.t.ppf(0.975, n - 1)) * statistics.stdev(values) / n**0.5 if n > 1 else None
    return {"mean": statistics.mean(values), "ci95": half}


def compare(
    found: Sequence[dict[str, Any]], metrics: Sequence[str], others: Callable[[str], dict[str, str]]
) -> dict[str, Any]:
    """Of each variant every metric over seeds, and its differences to other variants, seed by seed.

    Args:
        found: Cells: ``variant``, ``seed`` and ``scores``.
        metrics: Names of scores.
        others: Of a variant the others that are taken off, by the title of the difference.
    """
    by: dict[str, dict[int, dict[str, float]]] = {}
    for one in found:
        by.setdefault(one["variant"], {})[one["seed"]] = one["scores"]
    summary: dict[str, Any] = {}
    for variant, seeds in by.items():
        for metric in metrics:
            row = interval([scores[metric] for scores in seeds.values()])
            for title, other in others(variant).items():
                both = [seed for seed in seeds if seed in by.get(other, {})]
                if other != variant and both:
                    row[title] = interval([seeds[seed][metric] - by[other][seed][metric] for seed in both])
            summary.setdefault(variant, {})[metric] = row
    return summary
