"""What several seeds say together."""

from __future__ import annotations

import statistics
from typing import Any

from scipy import stats


def interval(values: list[float]) -> dict[str, Any]:
    """Mean, and half of its 95 % interval (Student's t); None for one value."""
    n = len(values)
    half = float(stats.t.ppf(0.975, n - 1)) * statistics.stdev(values) / n**0.5 if n > 1 else None
    return {"mean": statistics.mean(values), "ci95": half}
