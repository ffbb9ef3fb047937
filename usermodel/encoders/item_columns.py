"""Columns of the items table as tensors: text and booleans are categories, numbers are numbers, lists hold either."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import torch
from jaxtyping import Int
from numpy import ndarray

from usermodel.errors import DataError
from usermodel.nn.item_features import ItemFeature

_TEXT = (pl.String, pl.Categorical, pl.Enum, pl.Boolean)


def read_item_feature(column: pl.Series, index: Int[ndarray, " rows"], n_items: int) -> ItemFeature:
    """A column as the feature of items ``index``; items without a row or a value are unknown.

    Categories are numbered in sorted order. Numbers are centred in each dimension and divided by one scale, the root of
    their mean square, so that a dense vector keeps its directions; what is missing is then zero, the mean.

    Raises:
        DataError: A type that is neither, lists of different lengths, or no value at all.
    """
    inner = column.dtype.inner if isinstance(column.dtype, pl.List | pl.Array) else column.dtype
    if isinstance(inner, _TEXT):
        return _codes(column, index, n_items)
    if inner.is_numeric():
        return _numbers(column, index, n_items)
    do = "Convert the column, or drop it from the option."
    raise _error(column, "text, booleans, numbers, or lists of these", str(column.dtype), do)


def _codes(column: pl.Series, index: ndarray, n_items: int) -> ItemFeature:
    lists = isinstance(column.dtype, pl.List | pl.Array)
    frame = pl.DataFrame({"item": index, "value": column})
    flat = (
        (frame.explode("value") if lists else frame)
        .drop_nulls()
        .with_columns(pl.col("value").cast(pl.String))
    )
    # A category that an item has twice counts once.
    flat = flat.unique(maintain_order=True)
    if flat.is_empty():
        raise _error(column, "a category of some item", "none", "Drop it from the option.")
    names = flat["value"].unique().sort()
    code = flat["value"].replace_strict(names, np.arange(1, len(names) + 1), return_dtype=pl.Int32)
    place = flat.select(pl.int_range(pl.len()).over("item").alias("place"))["place"].to_numpy()
    values = np.zeros((n_items + 1, int(place.max()) + 1), dtype=np.int32)
    values[flat["item"].to_numpy(), place] = code.to_numpy()
    return ItemFeature(column.name, "codes", len(names), values.shape[1], torch.from_numpy(values))


def _numbers(column: pl.Series, index: ndarray, n_items: int) -> ItemFeature:
    given = column.is_not_null().to_numpy()
    rows: Any = column.drop_nulls()
    if isinstance(column.dtype, pl.List | pl.Array):
        rows = rows.cast(pl.List(pl.Float64))
        sizes = rows.list.len().unique()
        if len(sizes) > 1:
            do = "Give every item a vector of one length, or none."
            raise _error(column, "vectors of one length", f"lengths {sizes.min()} to {sizes.max()}", do)
        size = int(sizes[0]) if len(sizes) else 0
        flat = rows.explode() if size else pl.Series(dtype=pl.Float64)
    else:
        size, flat = 1, rows.cast(pl.Float64)
    numbers = flat.fill_null(float("nan")).to_numpy().reshape(-1, max(size, 1)).astype(np.float64)
    if np.isinf(numbers).any():
        raise _error(column, "finite numbers", "infinity", "Correct the table.")
    known = np.isfinite(numbers)
    if not known.any():
        raise _error(column, "a number of some item", "none", "Drop it from the option.")
    mean = np.where(known, numbers, 0).sum(0) / np.maximum(known.sum(0), 1)
    numbers = np.where(known, numbers - mean, 0)
    scale = np.sqrt((numbers**2).sum() / known.sum()) or 1.0
    values = np.zeros((n_items + 1, size), dtype=np.float32)
    values[index[given]] = numbers / scale
    return ItemFeature(column.name, "numbers", size, size, torch.from_numpy(values))


def _error(column: pl.Series, expected: str, found: str, do: str) -> DataError:
    return DataError(f"items table: column {column.name!r}", expected=expected, found=found, do=do)
