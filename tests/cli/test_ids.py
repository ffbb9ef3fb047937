"""Ids typed on the command line and in files: text beside integers, and text that holds commas or blanks."""

import json

import polars as pl
import pytest
import tiny
from command import usermodel

from usermodel.cli.ids import read_ids
from usermodel.errors import DataError
from usermodel.events.event_log import EventLog
from usermodel.store.build import build_store
from usermodel.store.sequence_store import SequenceStore

KNOWN = pl.Series(["a", "b", "a,b", "c,d", "ann lee", " blank "])


# ------------------------------------------------------------------------------------------------------------- one option


@pytest.mark.parametrize(
    ("given", "ids"),
    [
        ("a", ["a"]),
        ("a, b,,a", ["a", "b"]),
        ("ann lee,a", ["ann lee", "a"]),
        ("c,d", ["c,d"]),
        ("b,a", ["b", "a"]),
    ],
)
def test_typed_ids(given, ids, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_ids(given, "string", known=KNOWN) == ids


def test_a_file_holds_ids_as_they_stand(tmp_path):
    path = tmp_path / "ids.txt"
    path.write_bytes("\ufeffa,b\r\n blank \n\nann lee\na,b\nline\u2028separator\n".encode())
    expected = ["a,b", " blank ", "ann lee", "line\u2028separator"]
    assert read_ids(str(path), "string", known=KNOWN) == expected
    assert read_ids(str(path), "string") == expected
    path.write_text("7\n 8 \n7\n")
    assert read_ids(str(path), "int") == [7, 8]


def test_text_that_can_be_read_in_two_ways_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="--deny: expected text that can be read in one way") as caught:
        read_ids("a,b", "string", "--deny", KNOWN)
    assert "found 'a,b', which is one id and 2 ids. Write the ids into a file" in str(caught.value)
    # Where nobody knows the ids, a comma is a comma.
    assert read_ids("a,b", "string") == ["a", "b"]
    (tmp_path / "a").write_text("b\n")
    with pytest.raises(DataError, match="found 'a', which is the name of a file and one id"):
        read_ids("a", "string", known=KNOWN)
    assert read_ids("./a", "string", known=KNOWN) == ["b"]
    (tmp_path / "7").write_text("8\n")
    with pytest.raises(DataError, match="found '7', which is the name of a file and one id"):
        read_ids("7", "int", known=pl.Series([7, 8]))
    assert read_ids("7", "int", known=pl.Series([8])) == [8]


@pytest.mark.parametrize("given", ["x", "7,x", "9223372036854775808", "--", "7.0"])
def test_integers_are_asked_for(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="--users: expected integer ids"):
        read_ids(given, "int")


@pytest.mark.parametrize("given", ["", ",", " , "])
def test_no_id_is_refused(given):
    with pytest.raises(DataError, match="expected at least one id"):
        read_ids(given, "string")


@pytest.mark.parametrize("given", ["nosuch.txt", "x,y"])
def test_text_that_is_no_file_and_no_id_is_refused(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="--deny: expected an id that is known, or a file of ids") as caught:
        read_ids(given, "string", "--deny", KNOWN)
    assert f"found {given!r}, which is neither. Check the ids, or the name of the file." in str(caught.value)
    with pytest.raises(DataError, match="found '9', which is neither"):
        read_ids("9", "int", known=pl.Series([7, 8]))
    with pytest.raises(DataError, match="Check the ids, or the name of the file"):
        read_ids("nosuch.txt", "int")
    # One id that is known is enough, and a file is one: lists come from other systems.
    assert read_ids("a,zzz", "string", known=KNOWN) == ["a", "zzz"]
    (tmp_path / "ids.txt").write_text("zzz\n")
    assert read_ids("ids.txt", "string", known=KNOWN) == ["zzz"]


def test_a_list_of_unknown_ids_never_passes_in_silence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny.make_run(tiny.make_store(tmp_path / "store"), tmp_path / "run")
    ask = ["recommend", "run", "store", "--users", "u001", "-k", 1, "--format", "csv", "--deny"]
    out, err = usermodel(*ask, "banned.txt", code=2)
    assert out == ""
    assert "--deny: expected an id that is known, or a file of ids; found 'banned.txt'" in err
    (tmp_path / "banned.txt").write_text("nope\n")
    out, err = usermodel(*ask, "banned.txt")
    assert out.startswith("user_id,rank,item_id,score\nu001,1,")
    assert "warning: deny: 1 of 1 ids are not in the index and are passed over" in err
    words = "embed", "run", "store", "-o", "new", "--users", "nosuch.txt"
    assert "--users: expected an id that is known, or a file" in usermodel(*words, code=2)[1]


# --------------------------------------------------------------------------------------------------------------- the road


def integers(name):
    return pl.col(name).str.slice(1).cast(pl.Int64)


def odd(name):
    """Text with commas, and blanks inside and at the ends."""
    return pl.format(" {}, the ({}) ", pl.col(name), pl.col(name))


#: Columns of a log, and whether they stay numbers in the store.
LOGS = {
    "text-integers": ({"item_id": integers("item_id")}, False),
    "integers-text": ({"user_id": integers("user_id")}, False),
    "text-numbers": ({"item_id": integers("item_id")}, True),
    "numbers-text": ({"user_id": integers("user_id")}, True),
    "odd": ({"user_id": odd("user_id"), "item_id": odd("item_id")}, False),
}


@pytest.mark.parametrize("case", LOGS)
def test_ids_of_every_kind_take_the_whole_road(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    columns, numbers = LOGS[case]
    frame = tiny.frame().with_columns(**columns)
    users, items = (frame[name].unique().sort().to_list() for name in ("user_id", "item_id"))
    log = tmp_path / "log.parquet"
    frame.write_parquet(log)
    if numbers:
        # Files are read with ids of one type; a log of your own need not be.
        types = {
            name: "int" if frame[name].dtype == pl.Int64 else "string" for name in ("user_id", "item_id")
        }
        rows = frame.with_columns(pl.col("timestamp") * 1_000_000).lazy()
        mixed = EventLog(rows, ("mixed",), types["user_id"], types["item_id"])
        log = mixed.write(tmp_path / "log").sources[0]
        build_store(mixed, tmp_path / "store")
    else:
        usermodel("ingest", log, "-o", "store")
    store = SequenceStore.open("store")
    assert (store.meta["user_type"] == "int") == (numbers and frame["user_id"].dtype == pl.Int64)
    tiny.make_run(store, tmp_path / "run")
    (tmp_path / "ids").write_text(f"{users[3]}\n{users[1]}\n")
    (tmp_path / "one").write_text(f"{items[2]}\n")
    typed = "./ids" if case == "odd" else f"{users[3]},{users[1]}"
    asked = [str(users[3]), str(users[1])]

    def printed(*words):
        return pl.DataFrame(json.loads(usermodel(*words, "--format", "json")[0])).cast({"user_id": pl.String})

    for number, (given, source) in enumerate(
        [(typed, "store"), ("ids", "store"), ("ids", log), (typed, log)]
    ):
        usermodel("embed", "run", source, "-o", f"e{number}.parquet", "--users", given)
        found = pl.read_parquet(f"e{number}.parquet")
        assert found["user_id"].cast(pl.String).to_list() == asked
        assert not found["is_cold"].any()
    best = printed("recommend", "run", "store", "--users", typed, "-k", 2, "--keep-seen", "--allow", "one")
    assert best["user_id"].to_list() == asked
    assert set(best["item_id"].cast(pl.String)) == {str(items[2])}
    assert printed("recommend", "run", "store", "--users", "ids", "-k", 1)["user_id"].to_list() == asked
    # One odd id, typed: with all of its commas and blanks it is one, and no list.
    single = printed("recommend", "run", "store", "--users", users[3], "-k", 1)
    assert single["user_id"].to_list() == asked[:1]
    usermodel("embed", "run", "store", "-o", "all")
    usermodel("index", "all", "-o", "people", "--of", "users")
    for given in (typed, "ids"):
        assert printed("similar", "people", "--users", given, "-k", 1)["user_id"].to_list() == asked
    receipts = json.loads(usermodel("forget", "store", "all", "people", "--users", "ids", "--json")[0])
    assert [receipt["found"] for receipt in receipts["receipts"]] == [2, 2, 2]
