"""How the variance of vectors is shared out among their principal components."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from usermodel.errors import DataError
from usermodel.report.canvas import drawing, note, number_axis, to_svg
from usermodel.report.style import LIGHT


def spectrum(shares: Float[ndarray, " dim"]) -> str:
    """Bars of the share of the variance along each component, and how many components hold 90 % of it.

    Args:
        shares: Not negative, falling, adding up to 1.

    Raises:
        DataError: They are not.
    """
    shares = np.asarray(shares, dtype=np.float64)
    falling = shares.ndim == 1 and bool((np.diff(shares) <= 1e-12).all())
    if not (falling and len(shares) and shares[-1] >= 0 and abs(shares.sum() - 1) < 1e-6):
        expected, found = "falling shares that add up to 1", f"shape {shares.shape}, sum {shares.sum():.4g}"
        raise DataError("spectrum", expected=expected, found=found, do="Divide the variances by their sum.")
    most = int(np.searchsorted(np.cumsum(shares), 0.9 - 1e-12)) + 1
    with drawing(215) as figure:
        axes = figure.subplots()
        axes.bar(np.arange(1, len(shares) + 1), 100 * shares, 0.82, color=LIGHT["series-1"], linewidth=0)
        note(axes, f"{most} of {len(shares)} components hold 90 %")
        axes.set_xlabel("principal component")
        axes.set_ylabel("share of the variance (%)")
        axes.grid(axis="y")
        number_axis(axes, "x", whole=True)
        number_axis(axes, "y")
        return to_svg(figure)
