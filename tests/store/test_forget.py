"""Forgetting: no byte of a user stays, and nothing of anybody else changes."""

import errno
import json
import os

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import traces

from usermodel import manifest
from usermodel.cli.forget import forget as command
from usermodel.errors import DataError, MismatchError, MissingError, StorageError
from usermodel.events.readers import read_events
from usermodel.events.rejects import QUARANTINE
from usermodel.store.build import build_store
from usermodel.store.forget import forget
from usermodel.store.sequence_store import SequenceStore

T0 = 1_700_000_000
SECRET = "secret-person-4711"


def store_with_tables(folder, **options):
    rows = [("ann", "x", 0), (SECRET, "only-theirs", 1), ("zoe", "x", 2), (SECRET, "x", 3), ("ann", "y", 4)]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    frame = frame.with_columns(pl.col("timestamp") + T0, stars=pl.Series([1.0, 2.0, None, 4.0, 5.0]))
    times = {"timestamp": [T0 * 1_000_000] * 3, "clicked": [True, False, True]}
    people = ["zoe", SECRET, "ann"]
    return build_store(
        read_events(frame, rating="stars"),
        folder / "store",
        impressions=pl.DataFrame({"user_id": people, "item_id": ["x", "y", "x"], **times}),
        labels=pl.DataFrame(
            {"user_id": people, "prediction_time": times["timestamp"], "value": [1.0, 2.0, 3.0]}
        ),
        users_table=pl.DataFrame({"user_id": people, "age": [30, 40, 50]}),
        items_table=pl.DataFrame({"item_id": ["y", "x"], "genre": ["a", "b"]}),
        **options,
    )


def test_no_byte_stays(tmp_path):
    store = store_with_tables(tmp_path)
    everywhere = [
        "tables/impressions.parquet", "tables/labels.parquet", "tables/users.parquet", "users.parquet"
    ]  # fmt: skip
    assert traces(store.path, SECRET) == everywhere
    receipt = forget(store, pl.Series([SECRET, "nobody", SECRET]))
    assert traces(tmp_path, SECRET) == []
    assert receipt.to_json() == {
        "path": str(store.path),
        "asked": 2,
        "found": 1,
        "unknown": 1,
        "events": 2,
        "tables": {"impressions": 1, "items": 0, "labels": 1, "users": 1},
        "quarantined": 0,
    }
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
    left = SequenceStore.open(store.path, verify=True)
    assert left.users.ids.to_list() == ["ann", "zoe"]
    assert left.offsets.tolist() == [0, 2, 3]
    # The index of an item stays, also of one that nobody has any more.
    assert left.vocabulary.ids.to_list() == ["only-theirs", "x", "y"]
    assert left.meta["vocabulary_hash"] == store.meta["vocabulary_hash"]
    assert left.items.tolist() == [2, 3, 2]
    assert left.times.tolist() == [(T0 + second) * 1_000_000 for second in (0, 4, 2)]
    assert left.feature("rating")[:2].tolist() == [1.0, 5.0]
    assert np.isnan(left.feature("rating")[2])
    assert left.table("users").select("user_row", "user_id", "age").rows() == [(0, "ann", 50), (1, "zoe", 30)]
    assert left.table("impressions")["user_row"].to_list() == [0, 1]
    assert left.meta["rows"] == {
        "read": 5, "accepted": 3, "duplicates": 0, "quarantined": 0, "filtered_by_k_core": 0, "forgotten": 2
    }  # fmt: skip
    assert left.meta["tables"]["labels"] == {
        "read": 3, "written": 2, "unknown_users": 0, "forgotten": 1
    }  # fmt: skip
    # Twice is no more than once.
    assert forget(left, pl.Series([SECRET])).found == 0
    assert SequenceStore.open(store.path).content_hash == left.content_hash
    forget(left, pl.Series(["zoe"]))
    last = SequenceStore.open(store.path, verify=True)
    assert (last.meta["rows"]["forgotten"], last.meta["tables"]["labels"]["forgotten"]) == (3, 2)


EVENTS = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from("xyz"), st.integers(0, 3)), min_size=1, max_size=12
)


@settings(max_examples=25)
@given(EVENTS, st.sets(st.sampled_from("abcde")))
def test_it_equals_a_build_without_these_users_and_the_old_items(tmp_path_factory, events, gone):
    folder = tmp_path_factory.mktemp("forget")
    frame = pl.DataFrame(events, schema=["user_id", "item_id", "timestamp"], orient="row")
    frame = frame.with_columns(pl.col("timestamp") + T0, sid=pl.col("user_id") + pl.col("item_id"))
    frame = frame.with_columns(sid=pl.when(pl.col("item_id") == "z").then(None).otherwise("sid"))
    log = read_events(frame, session="sid", numeric={"second": "timestamp"})
    store = build_store(log, folder / "store")
    others = frame.filter(~pl.col("user_id").is_in(sorted(gone)))
    if others.is_empty():
        with pytest.raises(
            DataError, match=r"expected a user with events who stays; found none\. Delete the folder\."
        ):
            forget(store, pl.Series(sorted(gone), dtype=pl.String))
        return
    forget(store, pl.Series(sorted(gone), dtype=pl.String))
    nobody = type(store.users)(store.users.ids[:0])
    left = read_events(others, session="sid", numeric={"second": "timestamp"})
    expected = build_store(left, folder / "expected", vocabulary=(nobody, store.vocabulary))
    for path in expected.path.iterdir():
        if path.name != manifest.NAME:
            assert (store.path / path.name).read_bytes() == path.read_bytes(), path.name


def test_bad_rows_that_were_set_aside_go_too(tmp_path, capsys):
    (tmp_path / "log.csv").write_text(f"user_id,item_id,timestamp\nann,x,{T0}\n{SECRET},x,never\n")
    log = read_events(tmp_path / "log.csv", bad_rows="quarantine")
    store = build_store(log, tmp_path / "stores" / "store")
    assert store.meta["rows"]["quarantined"] == 1
    assert (store.path / QUARANTINE).read_text().count("\n") == 1
    # The store never knew this user, but a row of theirs may be among the bad ones.
    (tmp_path / "users.txt").write_text(SECRET)
    command([store.path], tmp_path / "users.txt")
    assert capsys.readouterr().out.endswith("found 0 + unknown 1; removed events 0, quarantined rows 1\n")
    left = SequenceStore.open(store.path, verify=True)
    assert sorted(path.name for path in left.path.iterdir()) == [
        "items.npy", "manifest.json", "offsets.npy", "times.npy", "users.parquet", "vocabulary.parquet"
    ]  # fmt: skip
    assert left.meta["rows"] == store.meta["rows"] | {"forgotten": 0}


def test_an_object_that_shows_an_older_store_forgets_nobody(tmp_path):
    """Written from the old columns, the store would have those back who were forgotten in between."""
    store = store_with_tables(tmp_path)
    assert store.forget([SECRET]).found == 1
    with pytest.raises(
        MismatchError, match=f"expected store {store.content_hash[:12]}; found .*open it again"
    ):
        store.forget(["zoe"])
    assert SequenceStore.open(store.path).forget(["zoe"]).found == 1
    assert traces(tmp_path, SECRET) == traces(tmp_path, "zoe") == []


def test_a_store_without_events_is_no_store(tmp_path):
    """Users whose numbers were kept, but who took nothing, are not enough."""
    frame = pl.DataFrame({"user_id": ["ann"], "item_id": ["x"], "timestamp": [T0]})
    known = store_with_tables(tmp_path)
    store = build_store(frame, tmp_path / "ann", vocabulary=known)
    assert store.n_users == 3
    with pytest.raises(DataError, match=r"expected a user with events who stays; found none\. Delete the"):
        store.forget(["ann"])
    assert store.forget(["zoe"]).found == 1


def test_the_method_takes_a_list_of_ids_and_not_one_text(tmp_path):
    store = store_with_tables(tmp_path)
    with pytest.raises(DataError, match="users: expected a list of str ids; found 'ann' of type str"):
        store.forget("ann")
    with pytest.raises(DataError, match="users: expected a list of str ids; found 7 of type int"):
        store.forget(["ann", 7])
    assert store.forget([]).asked == 0
    assert SequenceStore.open(store.path).content_hash == store.content_hash


def test_integer_ids(tmp_path):
    frame = pl.DataFrame({"user_id": [2**53, 2**53 + 1], "item_id": [1, 1], "timestamp": [T0, T0]})
    store = build_store(read_events(frame, id_type="int"), tmp_path / "store")
    with pytest.raises(DataError, match="expected Int64 values; found String values"):
        forget(store, pl.Series([str(2**53)]))
    forget(store, pl.Series([2**53]))
    assert SequenceStore.open(store.path, verify=True).users.ids.to_list() == [2**53 + 1]


@pytest.mark.parametrize("what", ["fsync", "save"])
def test_a_full_disk_forgets_nobody(tmp_path, monkeypatch, what):
    store = store_with_tables(tmp_path)

    def failing(*args, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os if what == "fsync" else np, what, failing)
        with pytest.raises(StorageError):
            forget(store, pl.Series([SECRET]))
    assert SequenceStore.open(store.path, verify=True).content_hash == store.content_hash
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


# --------------------------------------------------------------------------------------------------------- command line


def test_the_command_prints_a_receipt_for_each_store(tmp_path, capsys):
    first, second = (store_with_tables(tmp_path / name) for name in ("one", "two"))
    (tmp_path / "users.txt").write_bytes(f"\ufeff{SECRET}\r\n\r\n zoe\r\n".encode())
    command([first.path, second.path], tmp_path / "users.txt", as_json=True)
    receipts = json.loads(capsys.readouterr().out)["receipts"]
    # " zoe" with a blank is somebody else than "zoe".
    assert [(one["path"], one["found"], one["unknown"], one["events"]) for one in receipts] == [
        (str(first.path), 1, 1, 2), (str(second.path), 1, 1, 2)
    ]  # fmt: skip
    assert traces(tmp_path / "one", SECRET) == traces(tmp_path / "two", SECRET) == []
    (tmp_path / "users.txt").write_text("zoe\n")
    command([first.path, tmp_path / "one" / ".." / "one" / "store"], tmp_path / "users.txt")
    assert capsys.readouterr().out == (
        f"{tmp_path}/one/../one/store: asked 1 users = found 1 + unknown 0; "
        "removed events 1, impressions 1, items 0, labels 1, users 1\n"
    )


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, MissingError, "expected a file with one user id a line; found no such file. Check the path."),
        (b"\n\n", DataError, "expected at least one user id; found none. Write one user id a line."),
        (b"\xff\xfe", DataError, "expected text in UTF-8; found invalid start byte at byte 0. Re-encode it."),
        (b"7\nx\n", DataError, "expected integer ids, as in this store; found 'x'. Check the ids."),
    ],
)
def test_a_wrong_list_changes_nothing(tmp_path, content, error, message):
    frame = pl.DataFrame({"user_id": [7, 8], "item_id": [1, 1], "timestamp": [T0, T0]})
    store = build_store(read_events(frame, id_type="int"), tmp_path / "store")
    if content is not None:
        (tmp_path / "users.txt").write_bytes(content)
    with pytest.raises(error) as caught:
        command([store.path], tmp_path / "users.txt")
    assert str(caught.value) == f"{tmp_path / 'users.txt'}: {message}"
    assert SequenceStore.open(store.path, verify=True).content_hash == store.content_hash


def test_a_wrong_path_is_found_before_the_first_store_is_rewritten(tmp_path):
    store = store_with_tables(tmp_path)
    (tmp_path / "users.txt").write_text(SECRET)
    with pytest.raises(MissingError, match="expected a store; found nothing there"):
        command([store.path, tmp_path / "nowhere"], tmp_path / "users.txt")
    assert SequenceStore.open(store.path, verify=True).content_hash == store.content_hash
