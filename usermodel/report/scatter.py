"""A map of vectors: one point each, coloured by category."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float, Float64
from matplotlib.axes import Axes
from numpy import ndarray

from usermodel.errors import DataError, NumericError
from usermodel.report.canvas import below, drawing, to_svg
from usermodel.report.style import LIGHT, SERIES
from usermodel.report.text import clean, is_missing, shorten

#: Fourteen categories: each colour twice, with a different shape, so that neither alone has to tell them apart.
_COLOURS: Final = SERIES + SERIES
_MARKERS: Final = "os^DvPX" + "^DvPXos"
_UNKNOWN: Final = "unknown"


def embedding_map(
    points: Float[ndarray, "n 2"],
    labels: Sequence[object] | ndarray,
    title: str,
    *,
    max_points: int = 4000,
    axes_names: tuple[str, str] = ("first component", "second component"),
) -> str:
    """Scatter of a two-dimensional projection, coloured and shaped by category.

    The seven most frequent categories have a colour and a shape, the rest share grey; missing labels are "unknown". Beyond
    ``max_points`` a fixed random subset is drawn, and the figure says so.

    Args:
        points: Coordinates, finite, on one common scale.
        labels: Category of each point.
        title: Heading inside the figure.
        max_points: The most points to draw; 4000 make about 250 kB.
        axes_names: What the axes are; see ``Projection.axes``.

    Raises:
        DataError: Shapes that do not fit, or no points.
        NumericError: A coordinate is not finite.
    """
    points = _checked_points(points, len(labels))
    names = [_UNKNOWN if is_missing(label) else clean(label).strip() or _UNKNOWN for label in labels]
    kept = np.arange(len(points))
    if len(points) > max_points:
        kept = np.sort(np.random.default_rng(0).permutation(len(points))[:max_points])
    with drawing(430) as figure:
        axes = figure.subplots()
        size = 5.0 if len(kept) <= 300 else 3.6 if len(kept) <= 1500 else 2.6
        groups = _groups(names)
        for group in groups:
            mine = [row for row in kept if names[row] in group.members]
            _draw(axes, points[mine], group, size)
        _frame(axes, shorten(title, 48), axes_names)
        if len(kept) < len(points):
            below(axes, f"{len(kept):,} of {len(points):,} points drawn")
        texts = [group.legend for group in groups]
        columns = max(1, min(3, 390 // (30 + 6 * max(len(text) for text in texts))))
        legend = {"markerscale": 6 / size, "handletextpad": 0.2, "columnspacing": 1.0, "ncols": columns}
        figure.legend(axes.lines, texts, loc="outside lower center", **legend)
        return to_svg(figure)


def _checked_points(points: ndarray, n_labels: int) -> Float64[ndarray, "n 2"]:
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) != n_labels or n_labels == 0:
        found = f"shape {points.shape} and {n_labels} labels"
        raise DataError(
            "embedding_map",
            expected="points [n, 2] with one label each",
            found=found,
            do="Pass matching arrays.",
        )
    finite = np.isfinite(points).all(axis=1)
    if not finite.all():
        found = f"NaN or infinity in row {int(np.argmin(finite))}"
        raise NumericError("embedding_map", expected="finite points", found=found, do="Check the vectors.")
    return points


class _Group(NamedTuple):
    legend: str
    colour: str
    marker: str
    members: frozenset[str]
    depth: int


def _groups(names: Sequence[str]) -> list[_Group]:
    """Categories to draw apart, the most frequent first in the legend and deepest in the picture."""
    counts = Counter(names)
    n_unknown = counts.pop(_UNKNOWN, 0)
    ordered = sorted(counts, key=lambda name: (-counts[name], name))
    n_own = len(_COLOURS) if len(ordered) <= len(_COLOURS) else len(_COLOURS) - 1
    groups = []
    for depth, (name, colour, marker) in enumerate(zip(ordered[:n_own], _COLOURS, _MARKERS, strict=False), 2):
        text = f"{shorten(name, 20)} ({counts[name]:,})"
        groups.append(_Group(text, colour, marker, frozenset([name]), depth))
    if rest := ordered[n_own:]:
        text = f"{len(rest)} others ({sum(counts[name] for name in rest):,})"
        groups.append(_Group(text, LIGHT["rest"], "o", frozenset(rest), 1))
    if n_unknown:
        groups.append(_Group(f"{_UNKNOWN} ({n_unknown:,})", LIGHT["line"], "o", frozenset([_UNKNOWN]), 0))
    return groups


def _draw(axes: Axes, points: Float64[ndarray, "n 2"], group: _Group, size: float) -> None:
    (drawn,) = axes.plot(points[:, 0], points[:, 1], linestyle="none", marker=group.marker, markersize=size)
    drawn.set_zorder(2 + group.depth / 100)
    drawn.set(markerfacecolor=group.colour, markeredgecolor=LIGHT["paper"], markeredgewidth=0.25)


def _frame(axes: Axes, title: str, names: tuple[str, str]) -> None:
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_title(title)
    axes.set_xlabel(shorten(names[0], 32), loc="left")
    axes.set_ylabel(shorten(names[1], 40), loc="bottom")
    axes.set_xticks([])
    axes.set_yticks([])
