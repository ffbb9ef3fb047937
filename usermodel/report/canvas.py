"""Where figures are drawn: matplotlib without pyplot, one style, equal input gives equal bytes.

Figures are 400 units wide and stand between 340 px (a phone) and 590 px (a desktop), so their text reads like the text around.
"""

from __future__ import annotations

import contextlib
import io
import math
import threading
import warnings
from collections.abc import Iterator
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from usermodel.report import svg
from usermodel.report.style import LIGHT
from usermodel.report.text import clean, compact

_WIDTH: Final = 400
_UNITS_PER_INCH: Final = 72
# matplotlib's settings belong to the process: one figure at a time, and the caller's come back afterwards.
_LOCK: Final = threading.RLock()
_STYLE: Final[dict[str, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "usermodel",
    "text.parse_math": False,
    "font.family": ["DejaVu Sans"],
    "font.size": 10.5,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.labelcolor": LIGHT["muted"],
    "axes.edgecolor": LIGHT["line"],
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.w_pad": 0.06,
    "text.color": LIGHT["ink"],
    "xtick.color": LIGHT["line"],
    "ytick.color": LIGHT["line"],
    "xtick.labelcolor": LIGHT["muted"],
    "ytick.labelcolor": LIGHT["muted"],
    "xtick.labelsize": 10.5,
    "ytick.labelsize": 10.5,
    "grid.color": LIGHT["line"],
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 10.5,
}


@contextlib.contextmanager
def drawing(height: float) -> Iterator[Figure]:
    """An empty figure, 400 units wide and ``height`` units high; draw on it and save it inside the block."""
    with _LOCK, mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        settings: Any = mpl.rcParams  # newer matplotlib types its keys one by one
        settings.update(_STYLE)
        # Text is set by the reader's browser, which has more scripts than the font that measures it here.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)
        yield Figure(figsize=(_WIDTH / _UNITS_PER_INCH, height / _UNITS_PER_INCH), layout="constrained")


def to_svg(figure: Figure) -> str:
    """The figure as an ``<svg>`` element without date, creator or clock-dependent ids."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=nothing, transparent=True)
    return svg.theme(buffer.getvalue())


def number_axis(axes: Axes, which: str, *, log: bool = False, whole: bool = False) -> None:
    """Give the x or y axis few ticks, written as plain numbers; call it after the data are drawn."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    places = None
    if log:
        subs = (1.0,) if high > 300 * low else (1.0, 2.0, 5.0)
        axis.set_major_locator(LogLocator(subs=subs, numticks=8))
        axis.set_minor_formatter(NullFormatter())
    else:
        locator = MaxNLocator(nbins=5, steps=[1, 2, 5, 10], integer=whole, min_n_ticks=1 if whole else 2)
        axis.set_major_locator(locator)
        step = float(np.diff(locator.tick_values(low, high)[:2])[0])
        places = max(0, -math.floor(math.log10(step) + 1e-9))
    axis.set_major_formatter(FuncFormatter(lambda value, _: compact(value, places)))


def note(axes: Axes, text: str) -> None:
    """A small remark above the axes, at the right."""
    axes.set_title(clean(text), loc="right", fontsize=10.5, fontweight="normal", color=LIGHT["muted"])


def below(axes: Axes, text: str) -> None:
    """A small remark below the axes, at the right, level with a left-aligned axis label."""
    place = axes.transAxes
    axes.annotate(
        clean(text),
        (1, 0),
        (0, -5),
        place,
        "offset points",
        ha="right",
        va="top",
        color=LIGHT["muted"],
    )
