"""RecBole's files about items and users, by hand, and there and back."""

import polars as pl
import pytest

from usermodel.errors import DataError, OutputExistsError
from usermodel.events.atomic_tables import read_atomic_table, write_atomic_table
from usermodel.store.build import build_store

ITEMS = 'item_id:token\ttitle:token\tclass:token_seq\tprice:float\tvector:float_seq\n007\tToy "Story"\tAnimation Kids\t1.5\t0.25 -1.0\n7\tNA\t\t\t\n'


def test_every_type_by_hand(tmp_path):
    path = tmp_path / "a.item"
    path.write_text(ITEMS)
    frame = read_atomic_table(path)
    assert frame.schema == {
        "item_id": pl.String,
        "title": pl.String,
        "class": pl.List(pl.String),
        "price": pl.Float64,
        "vector": pl.List(pl.Float64),
    }
    assert frame.rows() == [
        ("007", 'Toy "Story"', ["Animation", "Kids"], 1.5, [0.25, -1.0]),
        ("7", "NA", None, None, None),
    ]


def test_there_and_back_gives_the_same_bytes(tmp_path):
    path = tmp_path / "a.item"
    path.write_text(ITEMS)
    again = write_atomic_table(read_atomic_table(path), tmp_path / "sub" / "b.item")
    assert again.read_text() == ITEMS
    with pytest.raises(OutputExistsError, match="expected a new file"):
        write_atomic_table(read_atomic_table(path), again)
    assert sorted(file.name for file in again.parent.iterdir()) == ["b.item"]


def test_a_store_takes_them_as_side_tables(tmp_path):
    (tmp_path / "a.item").write_text(ITEMS)
    (tmp_path / "a.user").write_text("user_id:token\tage:float\nann\t25\nbob\t\n")
    log = pl.DataFrame(
        {"user_id": ["ann", "bob"], "item_id": ["007", "7"], "timestamp": [1_700_000_000] * 2},
    )
    store = build_store(
        log, tmp_path / "store", items_table=tmp_path / "a.item", users_table=tmp_path / "a.user"
    )
    assert store.table("items")["class"].to_list() == [["Animation", "Kids"], None]
    assert store.table("users").select("user_id", "age").rows() == [("ann", 25.0), ("bob", None)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("item_id\ttitle\n1\tx\n", r"expected a header of name:type fields .*; found 'item_id'\."),
        ("item_id:token\tprice:int\n1\t2\n", r"token_seq, float, float_seq; found 'price:int'\."),
        ("item_id:token\tprice:float\n1\tcheap\n2\tdear\n", r"column 'price': expected numbers; found 'cheap' \(2 "),
        ("item_id:token\tvector:float_seq\n1\t1 two\n", r"column 'vector': expected numbers; found 'two' \(1 "),
        ("item_id:token\tprice:float\n1\t2\t3\n", "expected a readable atomic file; found "),
        ("", "expected a readable atomic file; found "),
    ],
)  # fmt: skip
def test_other_files_are_clear_errors(tmp_path, text, message):
    path = tmp_path / "a.item"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_atomic_table(path)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pl.Series("title", ["a\tb"]), r"column 'title': expected no tab.*; found 1 values, the first 'a\\tb'\."),
        (pl.Series("class", [["a b"]]), r"column 'class': expected no tab.*; found 1 values, the first 'a b'\."),
        (pl.Series("day", [0]).cast(pl.Date), "column 'day': expected text, numbers, or lists of these; found Date"),
    ],
)  # fmt: skip
def test_what_the_format_cannot_hold_is_refused_and_nothing_is_written(tmp_path, column, message):
    with pytest.raises(DataError, match=message):
        write_atomic_table(pl.DataFrame([pl.Series("item_id", ["1"]), column]), tmp_path / "a.item")
    assert not list(tmp_path.iterdir())


def test_integers_are_tokens_as_ids_and_numbers_elsewhere(tmp_path):
    frame = pl.DataFrame({"user_id": [7], "age": [30], "adult": [True]})
    text = write_atomic_table(frame, tmp_path / "a.user").read_text()
    assert text == "user_id:token\tage:float\tadult:token\n7\t30\ttrue\n"
