"""Methods compared by one metric."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

from matplotlib.axes import Axes

from usermodel.errors import DataError
from usermodel.report.canvas import drawing, note, number_axis, to_svg
from usermodel.report.style import LIGHT
from usermodel.report.text import compact, is_missing, shorten

#: Name, value, lower and upper end of its interval (None or NaN where there is none).
MetricRow = tuple[str, float | None, float | None, float | None]

_DASHES: Final = (0, (3, 2))


class _Bar(NamedTuple):
    name: str
    value: float
    low: float
    high: float


def metric_bars(
    rows: Sequence[MetricRow],
    metric: str,
    *,
    highlight: Collection[str] = (),
    references: Mapping[str, float] | None = None,
) -> str:
    """Methods compared: one bar from zero per row, in the given order, with its interval and value.

    Args:
        rows: Name, value, low, high. A missing value is drawn as "no value", a missing interval is not drawn.
        metric: Name of the metric, for the axis.
        highlight: Names whose bars are coloured; the others are grey. Empty: all are coloured.
        references: Name -> value of dashed vertical lines, for example ``{"chance": 0.01}``.

    Raises:
        DataError: No rows, an infinite value, or a value outside its own interval.
    """
    bars = [_checked(*row) for row in rows]
    lines = dict(sorted((references or {}).items(), key=lambda pair: pair[1]))
    if not bars:
        found, do = "none", "Evaluate something first."
        raise DataError("metric_bars", expected="at least one method", found=found, do=do)
    with drawing(62 + 25 * len(bars) + 14 * bool(lines)) as figure:
        axes = figure.subplots()
        for at, bar in enumerate(bars):
            colour = LIGHT["series-1"] if not highlight or bar.name in highlight else LIGHT["rest"]
            _draw(axes, at, bar, colour)
        for value in lines.values():
            axes.axvline(value, color=LIGHT["muted"], linewidth=0.9, linestyle=_DASHES)
        if lines:
            listed = ", ".join(f"{name} {value:.4g}" for name, value in lines.items())
            note(axes, f"dashed: {shorten(listed, 52)}")
        axes.set_yticks(range(len(bars)), [shorten(bar.name, 24) for bar in bars], color=LIGHT["ink"])
        axes.set_ylim(len(bars) - 0.4, -0.6)
        axes.set_xlim(*_span([*(end for bar in bars for end in (bar.low, bar.high)), *lines.values()]))
        axes.axvline(0, color=LIGHT["line"], linewidth=0.8)
        axes.set_xlabel(shorten(metric, 48))
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        number_axis(axes, "x")
        return to_svg(figure)


def _checked(name: str, value: float | None, low: float | None, high: float | None) -> _Bar:
    """A missing interval becomes the value itself."""
    number = math.nan if value is None else float(value)
    ends = [number if end is None or is_missing(end) else float(end) for end in (low, high)]
    if not (math.isnan(number) or -math.inf < ends[0] <= number <= ends[1] < math.inf):
        expected, found = "a finite value inside its interval", f"{value} in [{low}, {high}]"
        do = "Pass name, value, low, high."
        raise DataError(f"metric_bars, {name}", expected=expected, found=found, do=do)
    return _Bar(name, number, *ends) if not math.isnan(number) else _Bar(name, math.nan, math.nan, math.nan)


def _draw(axes: Axes, at: int, bar: _Bar, colour: str) -> None:
    if math.isnan(bar.value):
        text, end, ink = "no value", 0.0, LIGHT["muted"]
    else:
        text = f"{bar.value:.4f}".replace("-", "−") if abs(bar.value) < 10 else compact(bar.value)
        end, ink = max(bar.high, 0.0), LIGHT["ink"]
        axes.barh(at, bar.value, height=0.62, color=colour)
    if bar.high > bar.low:
        axes.plot([bar.low, bar.high], [at, at], color=LIGHT["paper"], linewidth=3.6, solid_capstyle="butt")
        axes.plot([bar.low, bar.high], [at, at], color=LIGHT["ink"], linewidth=1.6, solid_capstyle="butt")
    axes.annotate(text, (end, at), xytext=(4, 0), textcoords="offset points", va="center", color=ink)


def _span(values: Sequence[float]) -> tuple[float, float]:
    """Limits that hold zero, every value, and room for the text at the right."""
    finite = [value for value in values if not math.isnan(value)]
    low, high = min([0.0, *finite]), max([0.0, *finite])
    width = (high - low) or 1.0
    return low - (0.03 * width if low < 0 else 0.0), high + 0.24 * width
