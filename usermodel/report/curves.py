"""How training went, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from numpy import ndarray

from usermodel.errors import DataError
from usermodel.report.canvas import drawing, note, number_axis, to_svg
from usermodel.report.style import LIGHT
from usermodel.report.text import clean, is_missing, shorten

#: Columns of a run's history about vectors, and their titles.
VECTORS: Final = {
    "effective_rank": "effective rank of user vectors",
    "uniformity": "uniformity of user vectors (lower is more even)",
}


def learning_curve(
    history: Sequence[dict[str, float]], monitor: str, *, higher_is_better: bool = True
) -> str:
    """Training loss and validation metric per epoch, one above the other; the best epoch is marked.

    Args:
        history: One row per finished epoch with ``loss``, and ``monitor`` where there was a validation. ``epoch`` counts from 1
            and is the row's place when missing. Values that are not finite leave a gap.
        monitor: Validation metric, for example ``ndcg@10``.
        higher_is_better: Which end of the metric is the best epoch; the first of equals wins.

    Raises:
        DataError: No rows, or no finite loss.
    """
    epochs, loss = _series(history, "loss")
    if not np.isfinite(loss).any():
        found = f"{len(history)} rows without one"
        raise DataError(
            "history",
            expected="at least one epoch with a finite loss",
            found=found,
            do="Train for at least one epoch.",
        )
    _, metric = _series(history, monitor)
    validated = bool(np.isfinite(metric).any())
    with drawing(300 if validated else 190) as figure:
        panels = figure.subplots(2 if validated else 1, sharex=True, squeeze=False)[:, 0]
        _curve(panels[0], epochs, loss, "training loss", LIGHT["series-1"])
        if validated:
            _curve(panels[1], epochs, metric, f"validation {shorten(monitor, 14)}", LIGHT["series-2"])
            best = int(np.nanargmax(metric) if higher_is_better else np.nanargmin(metric))
            for panel in panels:
                panel.axvline(
                    epochs[best], color=LIGHT["muted"], linewidth=0.9, linestyle=(0, (3, 2)), zorder=1
                )
            panels[1].plot(epochs[best], metric[best], "o", color=LIGHT["series-2"], markersize=7, zorder=3)
            note(panels[1], f"best {metric[best]:.4f} after epoch {epochs[best]:.0f}")
        else:
            note(panels[0], "no validation")
        panels[-1].set_xlabel("epoch")
        panels[-1].set_xlim(epochs.min() - 0.5, epochs.max() + 0.5)
        number_axis(panels[-1], "x", whole=True)
        return to_svg(figure)


#: Height of a panel, in points.
_PANEL: Final = 110


def further_curves(history: Sequence[dict[str, float]]) -> str | None:
    """Each part of the loss, where it has several, and what was seen of the vectors: one panel each over the epochs.

    Args:
        history: One row per finished epoch; parts of the loss are under ``loss/NAME``.

    Returns:
        The picture; None where there is nothing to show but the loss itself.
    """
    names = list(dict.fromkeys(name for row in history for name in row))
    parts = [name for name in names if name.startswith("loss/")]
    chosen = [*(parts if len(parts) > 1 else []), *(name for name in VECTORS if name in names)]
    series = {name: _series(history, name) for name in chosen}
    shown = {name: one for name, one in series.items() if np.isfinite(one[1]).any()}
    if not shown:
        return None
    with drawing(60 + _PANEL * len(shown)) as figure:
        panels = figure.subplots(len(shown), sharex=True, squeeze=False)[:, 0]
        for panel, (name, (epochs, values)) in zip(panels, shown.items(), strict=True):
            _curve(
                panel, epochs, values, VECTORS.get(name, f"loss: {name.removeprefix('loss/')}"), _colour(name)
            )
        panels[-1].set_xlabel("epoch")
        number_axis(panels[-1], "x", whole=True)
        return to_svg(figure)


def _colour(name: str) -> str:
    return LIGHT["series-1"] if name.startswith("loss/") else LIGHT["series-2"]


def _series(history: Sequence[dict[str, float]], name: str) -> tuple[ndarray, ndarray]:
    epochs = np.array([row.get("epoch", at) for at, row in enumerate(history, 1)], dtype=np.float64)
    values = np.array(
        [math.nan if is_missing(row.get(name)) else row[name] for row in history], dtype=np.float64
    )
    return epochs, np.where(np.isfinite(values), values, np.nan)


def _curve(axes: Axes, epochs: ndarray, values: ndarray, title: str, colour: str) -> None:
    # A metric validated every other epoch is still one line; only a loss that was lost is a gap.
    shown = np.isfinite(values)
    axes.plot(
        epochs[shown],
        values[shown],
        color=colour,
        marker="o" if shown.sum() <= 30 else "",
        markersize=3.5,
        zorder=2,
    )
    axes.set_title(clean(title))
    axes.grid(axis="y")
    number_axis(axes, "y")
