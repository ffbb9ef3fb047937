"""Columns: exact, or refused with the first row that does not fit."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usermodel.errors import DataError
from usermodel.events.columns import parse_feature, parse_ids

INT64 = st.integers(-(2**63), 2**63 - 1)


@given(st.lists(st.text(min_size=1), min_size=1))
def test_text_ids_are_kept_byte_by_byte(values):
    for dtype in (pl.String, pl.Categorical):
        assert parse_ids(pl.Series(values, dtype=dtype), "w", "string").to_list() == values


@given(st.lists(INT64, min_size=1))
def test_integers_are_exact_both_ways(values):
    texts = [str(value) for value in values]
    column = pl.Series(values, dtype=pl.Int64)
    assert parse_ids(column, "w", "string").to_list() == texts
    assert parse_ids(column, "w", "int").to_list() == values
    assert parse_ids(pl.Series(texts), "w", "int").to_list() == values
    assert parse_feature(pl.Series(texts), pl.Int64, "w").to_list() == values
    assert parse_feature(column, pl.Int64, "w").to_list() == values


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["12", "12.0", "12.4", "", None, "-1"], [12, 12, 12, None, None, -1]),
        ([12.0, 12.6, None, float("nan")], [12, 13, None, None]),
        (pl.Series([3, None], dtype=pl.UInt8), [3, None]),
    ],
)
def test_integer_features_written_as_decimals(values, expected):
    assert parse_feature(pl.Series(values), pl.Int64, "w").to_list() == expected


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (["1", "", "two", "3x"], "'two' in row 3 (2 such rows)"),
        ([1.0, float("inf")], "inf in row 2 (1 such rows)"),
        (["99999999999999999999"], "'99999999999999999999' in row 1 (1 such rows)"),
        (pl.Series([2**64 - 1], dtype=pl.UInt64), "18446744073709551615 in row 1 (1 such rows)"),
        (["nan"], "'nan' in row 1 (1 such rows)"),
    ],
)
def test_what_is_no_integer_is_refused(values, found):
    with pytest.raises(DataError) as caught:
        parse_feature(pl.Series(values), pl.Int64, "log.csv: column 'play'")
    assert (
        str(caught.value)
        == f"log.csv: column 'play': expected Int64 values; found {found}. Mend or remove these rows."
    )


@pytest.mark.parametrize("kind", ["string", "int"])
@pytest.mark.parametrize("values", [["1", None, ""], [1, None, None], [None, None]])
def test_empty_ids_are_refused_with_their_number(values, kind):
    n = sum(value in {None, ""} for value in values)
    first = next(row for row, value in enumerate(values, start=1) if value in {None, ""})
    with pytest.raises(
        DataError, match=f"^w: expected an id in every row; found {n} empty ones, the first in row {first}\\."
    ):
        parse_ids(pl.Series(values), "w", kind)


def test_unknown_event_types_are_empty_and_not_a_type():
    assert parse_feature(pl.Series(["click", "", None]), pl.String, "w").to_list() == ["click", None, None]
    assert parse_feature(pl.Series([1, None]), pl.String, "w").to_list() == ["1", None]


def test_ratings_keep_their_fractions():
    assert parse_feature(pl.Series(["4.5", ""]), pl.Float32, "w").to_list() == [4.5, None]
    assert parse_feature(pl.Series([4, None]), pl.Float32, "w").to_list() == [4.0, None]
