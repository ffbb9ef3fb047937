"""Columns: exact, or marked where a row does not fit."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usermodel.events.columns import read_feature, read_ids


def parse_ids(values, where, kind):
    ids, bad = read_ids(values, where, kind)
    assert not any(one.rows.any() for one in bad)
    return ids


def parse_feature(values, name):
    column, bad = read_feature(values, name)
    assert not any(one.rows.any() for one in bad)
    return column


def codes(bad):
    return {one.code: (one.rows.arg_true() + 1).to_list() for one in bad if one.rows.any()}


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
    assert parse_feature(pl.Series(texts), "watch_time_ms").to_list() == values
    assert parse_feature(column, "watch_time_ms").to_list() == values


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["12", "12.0", "12.4", "", None, "-1"], [12, 12, 12, None, None, -1]),
        ([12.0, 12.6, None, float("nan")], [12, 13, None, None]),
        (pl.Series([3, None], dtype=pl.UInt8), [3, None]),
    ],
)
def test_integer_features_written_as_decimals(values, expected):
    assert parse_feature(pl.Series(values), "watch_time_ms").to_list() == expected


@pytest.mark.parametrize(
    ("values", "rows"),
    [
        (["1", "", "two", "3x"], [3, 4]),
        ([1.0, float("inf")], [2]),
        (["99999999999999999999"], [1]),
        (pl.Series([2**64 - 1], dtype=pl.UInt64), [1]),
        (["nan"], [1]),
    ],
)
def test_what_is_no_integer_is_marked(values, rows):
    assert codes(read_feature(pl.Series(values), "watch_time_ms")[1]) == {"D020": rows}


@pytest.mark.parametrize("kind", ["string", "int"])
@pytest.mark.parametrize("values", [["1", None, ""], [1, None, None], [None, None]])
def test_empty_ids_are_marked(values, kind):
    rows = [row for row, value in enumerate(values, start=1) if value in {None, ""}]
    assert codes(read_ids(pl.Series(values), "w", kind)[1]) == {"D010": rows}


def test_words_are_no_integer_ids():
    assert codes(read_ids(pl.Series(["1", "x", "7.0"]), "w", "int")[1]) == {"D011": [2, 3]}


def test_unknown_event_types_are_empty_and_not_a_type():
    assert parse_feature(pl.Series(["click", "", None]), "event_type").to_list() == ["click", None, None]
    assert parse_feature(pl.Series([1, None]), "event_type").to_list() == ["1", None]


def test_ratings_keep_their_fractions():
    assert parse_feature(pl.Series(["4.5", ""]), "rating").to_list() == [4.5, None]
    assert parse_feature(pl.Series([4, None]), "rating").to_list() == [4.0, None]
