"""Codes: one small integer per distinct id, equal for every way in which a column may hold the ids."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usermodel.events import codes
from usermodel.events.codes import count, factorize, take

TEXTS = st.lists(st.text(max_size=3), max_size=20)
INTEGERS = st.lists(st.one_of(st.integers(-3, 3), st.integers(-(2**63), 2**63 - 1)), max_size=20)


def columns_of_text(values):
    plain = pl.Series("id", values, dtype=pl.String)
    other = pl.Series("id", ["zz", "unused", "", *values], dtype=pl.String)
    # The second one has codes that no row uses; the third comes in two pieces.
    yield plain
    yield other.cast(pl.Categorical(pl.Categories.random()))[3:]
    yield pl.concat([plain, plain], rechunk=False).cast(pl.Categorical)[: len(plain)]
    yield plain.cast(pl.Enum(plain.unique().sort(descending=True)))


@given(TEXTS, st.integers(1, 7))
def test_text_in_any_column_type(values, block):
    known = sorted(set(values), key=str.encode)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codes, "BLOCK", block)
        for column in columns_of_text(values):
            ids, code = factorize(column)
            assert (ids.dtype, ids.to_list()) == (pl.String, known), column.dtype
            assert (code.dtype, [known[one] for one in code]) == (np.int32, values), column.dtype


@given(INTEGERS, st.integers(1, 7), st.sampled_from([1, 1 << 20]))
def test_integers_near_and_far(values, block, places):
    known = sorted(set(values))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codes, "BLOCK", block)
        patch.setattr(codes, "_PLACES", places)
        ids, code = factorize(pl.Series("id", values, dtype=pl.Int64))
    assert (ids.dtype, ids.to_list()) == (pl.Int64, known)
    assert (code.dtype, [known[one] for one in code]) == (np.int32, values)


@pytest.mark.parametrize("low", [-(2**63), 2**63 - 7, 2**53 - 3])
def test_a_table_at_the_edge_of_the_integers(low):
    values = [low + step for step in (6, 0, 3, 6, 1)]
    ids, code = factorize(pl.Series(values, dtype=pl.Int64))
    assert ids.to_list() == sorted(set(values))
    assert code.tolist() == [3, 0, 2, 3, 1]


def test_counting_and_taking_across_blocks(monkeypatch):
    monkeypatch.setattr(codes, "BLOCK", 3)
    index = np.array([2, 0, 2, 2, 1, 0, 2], dtype=np.int32)
    assert count(index, 5).tolist() == [2, 1, 4, 0, 0]
    assert take(np.array([1.5, 2.5, 3.5]), index).tolist() == [3.5, 1.5, 3.5, 3.5, 2.5, 1.5, 3.5]
    assert take(np.arange(3), index[:0]).tolist() == []
