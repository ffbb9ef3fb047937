"""What tasks on rows share: vectors that fit the rows, training on some of them, and guesses for others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from numpy import ndarray
from torch import Tensor, nn

from usermodel.errors import DataError, NumericError
from usermodel.tasks.rows import Rows
from usermodel.training.epochs import EpochReport, Fitted
from usermodel.training.fit_rows import FitRowsConfig, fit_rows

#: Rows whose guesses are computed at once.
_BLOCK: Final = 1 << 14


def require_vectors(vectors: ndarray | None, rows: Rows) -> None:
    """Raise unless there is a finite vector for each row, or none at all.

    Raises:
        DataError: Another shape.
        NumericError: A number that is not finite.
    """
    if vectors is None:
        return
    if vectors.ndim != 2 or len(vectors) != len(rows):
        do = "Encode what requests gives."
        expected = f"[{len(rows):,}, dim], one for each row"
        raise DataError("vectors", expected=expected, found=str(list(vectors.shape)), do=do)
    if not np.isfinite(vectors).all():
        raise NumericError("vectors", expected="finite numbers", found="others", do="Look at the encoder.")


def fit_on(
    model: nn.Module,
    loss: Callable[[Int64[Tensor, " batch"]], Float[Tensor, ""]],
    at: Int64[ndarray, " train"],
    config: FitRowsConfig,
    *,
    validate: Callable[[], float] | None,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> Fitted:
    """`fit_rows` on the rows at some positions; ``loss`` is given these positions."""
    positions = torch.from_numpy(at)
    return fit_rows(
        model, lambda rows: loss(positions[rows]), len(at), config, validate=validate, on_epoch=on_epoch
    )


@torch.no_grad()
def guesses(
    model: nn.Module,
    guess: Callable[[Int64[Tensor, " block"]], Float[Tensor, " block"]],
    at: Int64[ndarray, " at"],
) -> Float64[ndarray, " at"]:
    """What a model says of the rows at some positions, without dropout; it is left in the mode it was in.

    Raises:
        NumericError: A guess is not finite.
    """
    training = model.training
    model.eval()
    found = np.empty(len(at))
    for start in range(0, len(at), _BLOCK):
        block = slice(start, start + _BLOCK)
        found[block] = guess(torch.from_numpy(at[block])).double().numpy()
    model.train(training)
    if not np.isfinite(found).all():
        do = "Lower the learning rate, or choose another head."
        raise NumericError("guesses", expected="finite numbers", found="others", do=do)
    return found
