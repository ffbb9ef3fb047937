"""Features that alone tell every answer: hardly ever something that was known before, and mostly the answer under another name."""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from usermodel.errors import DataError
from usermodel.heads.row_inputs import RowBatch, RowShape
from usermodel.metrics.pair_order import pair_counts

#: What the toolkit reads itself, from before the row.
OURS: Final = frozenset({"user_id", "item_id", "hour", "weekday", "duration"})
#: Fewer rows than this can be told apart by chance.
_FEWEST: Final = 100
_SAMPLE: Final = 20_000
#: Nor can answers of which hardly any differs from the most frequent one.
_FEWEST_OTHERS: Final = 10
#: Rows a category must have, on average: ids of rows tell every answer of the rows that they were learned from.
_ROWS_EACH: Final = 10
_NEARLY: Final = 0.999


def refuse_oracles(
    shape: RowShape, batch: RowBatch, at: Int64[ndarray, " at"], answer: Float64[ndarray, " rows"]
) -> None:
    """Raise `DataError` where one column puts rows into the order of their answers, or has one answer for each of its categories.

    Args:
        shape: Names the columns; those of `OURS` are not looked at.
        batch: All rows.
        at: Training rows, of which at most 20,000 are looked at.
        answer: What is predicted of each row.
    """
    if len(at) < _FEWEST:
        return
    some = at if len(at) <= _SAMPLE else np.random.default_rng(0).choice(at, _SAMPLE, replace=False)
    truth = answer[some]
    _, count = np.unique(truth, return_counts=True)
    if len(truth) - count.max() < _FEWEST_OTHERS:
        return
    told: dict[str, float] = {}
    for place, name in enumerate(shape.numbers):
        told[name] = _order(batch.numbers[some, place].numpy().astype(np.float64), truth)
    for place, (name, _) in enumerate(shape.fields):
        told[name] = _explained(batch.codes[some, place].numpy(), truth)
    for name, share in told.items():
        if share > _NEARLY and name not in OURS:
            do = "Leave it out; if it is known before, say so: check_oracles=False."
            found = f"one that alone tells {100 * share:.1f} % of the answers"
            raise DataError(f"feature {name!r}", expected="what is known before", found=found, do=do)


def _order(number: Float64[ndarray, " n"], truth: Float64[ndarray, " n"]) -> float:
    """Share of the pairs with different answers that the number puts into their order, or all into the other one."""
    pairs = pair_counts(truth, number)
    if not pairs.comparable.any():
        return 0.0
    share = float(pairs.concordant.sum() / pairs.comparable.sum())
    return max(share, 1 - share)


def _explained(code: Int64[ndarray, " n"], truth: Float64[ndarray, " n"]) -> float:
    """Share of the answers' variance that is between categories."""
    rows = np.bincount(code)
    total = float(np.square(truth - truth.mean()).sum())
    if not total or len(code) < _ROWS_EACH * (rows > 0).sum():
        return 0.0
    mean = np.bincount(code, truth) / np.maximum(rows, 1)
    return 1 - float(np.square(truth - mean[code]).sum()) / total
