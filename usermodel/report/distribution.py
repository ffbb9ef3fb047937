"""How one quantity is distributed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy import ndarray

from usermodel.errors import DataError
from usermodel.report.canvas import drawing, note, number_axis, to_svg
from usermodel.report.style import LIGHT
from usermodel.report.text import compact, shorten


def histogram(
    values: Sequence[float] | ndarray,
    label: str,
    *,
    counted: str = "users",
    log: bool = False,
    log_counts: bool = False,
    bins: int = 40,
) -> str:
    """Distribution of one quantity, its median marked.

    Args:
        values: One number per user, item or event. Values that are not finite (with ``log`` also those below or at zero) are left
            out, and the figure says how many.
        label: What the values are, with their unit, for the axis: ``events per user``, ``watch_time (s)``.
        counted: What one value stands for, for the other axis.
        log: Logarithmic axis and bins for the values.
        log_counts: Logarithmic axis for the counts.
        bins: The most bins; whole numbers never get bins narrower than one.

    Raises:
        DataError: No value left to draw.
    """
    values = np.asarray(values, dtype=np.float64).ravel()
    kept = values[np.isfinite(values) & ((values > 0) | (not log))]
    if not len(kept):
        expected = "at least one finite value" + (" above zero" if log else "")
        raise DataError(
            f"histogram of {label}",
            expected=expected,
            found=f"none among {len(values):,}",
            do="Check the column.",
        )
    with drawing(215) as figure:
        axes = figure.subplots()
        axes.set_xscale("log" if log else "linear")
        axes.set_yscale("log" if log_counts else "linear")
        _bars(axes, kept, _edges(kept, log, bins))
        if log_counts:
            axes.set_ylim(bottom=0.7)
        left_out = len(values) - len(kept)
        median = f"dashed: median {compact(float(np.median(kept)))}"
        note(axes, median + (f"; {left_out:,} left out" if left_out else ""))
        axes.set_xlabel(shorten(label, 56))
        axes.set_ylabel(shorten(counted, 30))
        axes.grid(axis="y")
        number_axis(axes, "x", log=log, whole=_whole(kept))
        number_axis(axes, "y", log=log_counts, whole=True)
        return to_svg(figure)


def _bars(axes: Axes, values: ndarray, edges: ndarray) -> None:
    counts, _ = np.histogram(values, edges)
    drawn = counts > 0
    widths = np.diff(edges)[drawn]
    axes.bar(edges[:-1][drawn], counts[drawn], widths, align="edge", color=LIGHT["series-1"], linewidth=0)
    axes.axvline(float(np.median(values)), color=LIGHT["ink"], linewidth=1.1, linestyle=(0, (3, 2)))


def _edges(values: ndarray, log: bool, bins: int) -> ndarray:
    """Edges of equal (or, with ``log``, equally growing) bins; an edge never falls on a whole number of whole data."""
    low, high = float(values.min()), float(values.max())
    largest = max(abs(low), abs(high))
    if _whole(values):
        return _whole_edges(low - 0.5, high + 0.5, log, bins)
    if high - low <= 1e-9 * largest:
        low, high = low - 0.5 * largest, high + 0.5 * largest
    return np.geomspace(low, high, bins + 1) if log else np.linspace(low, high, bins + 1)


def _whole(values: ndarray) -> bool:
    """Whether all values are whole numbers small enough to tell from their neighbours."""
    return bool((np.abs(values) < 2**50).all() and (values == np.round(values)).all())


def _whole_edges(low: float, high: float, log: bool, bins: int) -> ndarray:
    if not log:
        step = math.ceil((high - low) / bins)
        return np.arange(low, high + step, step)
    # Wide enough that rounding to whole numbers makes no teeth: each bin holds about growth times the one before.
    growth = max(1.4, (high / low) ** (1 / bins))
    edges = [low]
    while edges[-1] < high:
        edges.append(edges[-1] + max(1, round(edges[-1] * (growth - 1))))
    return np.array(edges)
