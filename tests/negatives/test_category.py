import math

import numpy as np
import polars as pl
import pytest
import torch

from usermodel.errors import DataError
from usermodel.events.readers import read_events
from usermodel.negatives.category import Category, CategoryConfig, read_categories
from usermodel.negatives.protocol import DrawContext
from usermodel.store.build import build_store

#: Items 1 and 4 are of one category, 2 and 3 and 5 of another.
CATEGORY = np.array([0, 1, 1, 0, 1])
TARGETS = torch.tensor([4, 2])
CONTEXT = DrawContext(torch.zeros(2, 3))


def test_probabilities_are_those_of_the_mixture():
    drawn = Category(CATEGORY, share=0.6).sample(TARGETS, CONTEXT, n=200)
    for row, (same, size) in enumerate([({1, 4}, 2), ({2, 3, 5}, 3)]):
        q = [0.6 * (item in same) / size + 0.4 / 5 for item in drawn.ids[row].tolist()]
        torch.testing.assert_close(drawn.log_q[row], torch.tensor(q).log())
        assert drawn.ids[row].unique().tolist() == [1, 2, 3, 4, 5]


def test_share_1_stays_in_the_category():
    drawn = Category(CATEGORY, share=1).sample(TARGETS, CONTEXT, n=200)
    assert drawn.ids[0].unique().tolist() == [1, 4]
    assert drawn.ids[1].unique().tolist() == [2, 3, 5]
    torch.testing.assert_close(drawn.log_q[1], torch.full((200,), math.log(1 / 3)))
    law = Category(CATEGORY, share=1).log_q_of(torch.tensor([1, 2]), TARGETS, CONTEXT)
    assert law.exp().tolist() == [[0.5, 0.0], [0.0, pytest.approx(1 / 3)]]


@pytest.fixture
def store(tmp_path):
    """Items a to e; d has an empty category, and e no row."""
    frame = pl.DataFrame({"user_id": ["u"] * 5, "item_id": [*"abcde"], "timestamp": range(5)})
    table = pl.DataFrame(
        {
            "item_id": [*"abcd"],
            "category": ["x", "y", "x", ""],
            "year": [3, None, 3, 3],
            "price": [0.5, 1, 2, 3],
        }
    )
    return build_store(read_events(frame, time_unit="order"), tmp_path / "store", items_table=table)


@pytest.mark.parametrize(
    ("column", "groups"), [("category", {"ac", "b", "de"}), ("year", {"acd", "be"})], ids=["text", "numbers"]
)
def test_items_without_a_category_form_one(store, column, groups):
    category = read_categories(store, column)
    ids = store.vocabulary.ids.to_list()
    found = {
        "".join(sorted(ids[i] for i in np.flatnonzero(category == one))) for one in range(category.max() + 1)
    }
    assert found == groups


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("categry", "expected a column 'categry'; found the columns .*Did you mean 'category'"),
        ("item_index", "expected a column 'item_index'"),
        ("price", "expected categories; found values of Float64"),
    ],
)
def test_a_column_that_is_not_there_or_holds_no_categories(store, column, message):
    with pytest.raises(DataError, match=message):
        CategoryConfig(column=column).build(store, store.split())


def test_a_store_without_an_items_table(tmp_path):
    frame = pl.DataFrame({"user_id": ["u"] * 3, "item_id": [*"abc"], "timestamp": range(3)})
    store = build_store(read_events(frame, time_unit="order"), tmp_path / "store")
    with pytest.raises(DataError, match="--items-table"):
        CategoryConfig().build(store, store.split())
