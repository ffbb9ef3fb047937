"""EmbeddingTable: vectors by the caller's own ids, in every dress. DotScorer: inner products, never of the wrong user."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from usermodel.embedding_table import DotScorer, EmbeddingTable
from usermodel.errors import DataError, MismatchError, MissingError

VECTORS = np.array([[1.0, 2.0], [3.0, 4.0], [0.5, -1.0]], dtype=np.float32)


def table(ids=("ann", "bob", "7"), vectors=VECTORS, **options):
    return EmbeddingTable(pl.Series(list(ids)), vectors, "hash", **options)


def test_vectors_by_id():
    users = table()
    assert (len(users), users.dim, list(users)) == (3, 2, ["ann", "bob", "7"])
    assert users["bob"].tolist() == [3.0, 4.0]
    assert "ann" in users
    assert "eve" not in users
    # Ids are text here: the number 7 is somebody else.
    assert 7 not in users
    with pytest.raises(MissingError) as caught:
        users[7]
    assert str(caught.value) == "user_id: expected an id of this table; found 7. Check the id and its type."
    assert table(ids=(2**53, 2**53 + 1, 7))[2**53 + 1].tolist() == [3.0, 4.0]


def test_every_dress_holds_the_same():
    users = table(columns=pl.DataFrame({"n_events": [5, 3, 1]}))
    frame = users.to_polars()
    assert frame.columns == ["user_id", "n_events", "embedding"]
    assert frame.schema["embedding"] == pl.Array(pl.Float32, 2)
    assert frame["embedding"].to_numpy().tolist() == VECTORS.tolist()
    assert users.to_numpy().tolist() == users.to_torch().tolist() == VECTORS.tolist()
    pandas = users.to_pandas()
    assert isinstance(pandas, pd.DataFrame)
    assert pandas["user_id"].tolist() == ["ann", "bob", "7"]
    assert np.stack(pandas["embedding"]).tolist() == VECTORS.tolist()
    assert table(name="item_id").to_polars().columns == ["item_id", "embedding"]


def test_half_precision_and_read_only_memory(tmp_path):
    np.save(tmp_path / "v.npy", VECTORS.astype(np.float16))
    users = table(vectors=np.load(tmp_path / "v.npy", mmap_mode="r"))
    assert users.to_polars()["embedding"].to_numpy().tolist() == VECTORS.tolist()
    tensor = users.to_torch()
    assert tensor.dtype == torch.float16
    tensor.fill_(0)
    assert users.to_numpy().tolist() == VECTORS.tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"ids": ("a", "b")},
            r"embeddings: expected one vector \[dim\] per id; found 2 ids, vectors of shape \(3, 2\)",
        ),
        ({"vectors": VECTORS[:, 0]}, r"vectors of shape \(3,\)"),
        ({"columns": pl.DataFrame({"n_events": [1]})}, r"1 rows of further facts\. Pass matching arrays"),
        (
            {"ids": ("a", "b", "a")},
            r"embeddings: expected unique ids; found repeated ones\. Embed each id once",
        ),
    ],
)
def test_tables_that_do_not_fit_together_cannot_be_made(options, message):
    with pytest.raises(DataError, match=message):
        table(**options)


def test_a_table_of_nobody():
    empty = EmbeddingTable(pl.Series([], dtype=pl.String), np.zeros((0, 4), dtype=np.float32), "hash")
    assert (len(empty), empty.dim) == (0, 4)
    assert empty.to_polars().height == 0


NUMBERS = st.integers(-8, 8)


@given(
    st.lists(st.lists(NUMBERS, min_size=3, max_size=3), min_size=1, max_size=5),
    st.lists(st.lists(NUMBERS, min_size=3, max_size=3), min_size=1, max_size=5),
    st.data(),
)
def test_scores_are_inner_products(users, items, data):
    first = data.draw(st.integers(0, 3))
    rows = np.array([first + 2 * number for number in range(len(users))])
    asked = data.draw(st.lists(st.sampled_from(rows.tolist()), max_size=6))
    vectors, catalogue = torch.tensor(users, dtype=torch.float32), torch.tensor(items, dtype=torch.float32)
    scorer = DotScorer(vectors, catalogue, rows)
    assert scorer.n_items == len(items)
    scores = scorer.scores(np.array(asked, dtype=np.int64))
    assert scores.dtype == torch.float32
    expected = [
        [sum(a * b for a, b in zip(users[(row - first) // 2], item, strict=True)) for item in items]
        for row in asked
    ]
    assert scores.tolist() == expected
    assert DotScorer(vectors, catalogue).scores(np.array([0])).tolist() == scorer.scores(rows[:1]).tolist()


@pytest.mark.parametrize(("asked", "found"), [([3], "user 3"), ([0], "user 0"), ([1, 99, 5, 98], "user 99")])
def test_a_user_without_a_vector_gets_nobody_elses_scores(asked, found):
    scorer = DotScorer(torch.eye(3), torch.eye(3), np.array([1, 5, 7]))
    with pytest.raises(DataError, match=rf"scorer: expected users with a vector; found {found} "):
        scorer.scores(np.array(asked))


def test_widths_must_agree():
    with pytest.raises(MismatchError, match="expected user and item vectors of one width; found 2 and 3"):
        DotScorer(torch.zeros(4, 2), torch.zeros(5, 3))
