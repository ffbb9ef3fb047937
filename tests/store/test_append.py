"""Appending: the store that a rebuild from all logs gives, and no index moves."""

import errno
import json
import os

import numpy as np
import polars as pl
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from usermodel import manifest
from usermodel.cli.append import append as command
from usermodel.errors import DataError, MismatchError, OutputExistsError, StorageError
from usermodel.events.readers import read_events
from usermodel.events.rejects import QUARANTINE
from usermodel.store.append import append
from usermodel.store.build import build_store
from usermodel.store.sequence_store import SequenceStore

T0 = 1_700_000_000
EVENTS = st.lists(
    st.tuples(
        st.sampled_from("abcdeÄ"),
        st.sampled_from(["7", "007", "NA", "x", "é"]),
        st.integers(T0, T0 + 3),
        st.sampled_from([None, "click", "like", "buy"]),
        st.sampled_from([None, 0, 12]),
        st.sampled_from([None, 0.5, 4.0]),
        st.sampled_from([None, "s1", "S1", "007", "7", "NA"]),
        st.sampled_from([None, "", "null", "ios", "ü"]),
        st.sampled_from([None, -1.0, 0.25]),
    ),
    min_size=1,
    max_size=15,
)
NAMES = ["user_id", "item_id", "timestamp", "kind", "play", "stars", "sid", "dev", "price"]
TYPES = [pl.String, pl.String, pl.Int64, pl.String, pl.Int64, pl.Float32, pl.String, pl.String, pl.Float64]


def log_of(events):
    frame = pl.DataFrame(events, schema=dict(zip(NAMES, TYPES, strict=True)), orient="row")
    columns = {
        "event_type": "kind",
        "watch_time": "play",
        "rating": "stars",
        "label": "price",
        "session": "sid",
    }
    return read_events(frame, categorical={"device": "dev"}, numeric=["price"], **columns)


def files(store):
    return {path.name: path.read_bytes() for path in store.path.iterdir() if path.name != manifest.NAME}


@settings(max_examples=15)
@given(EVENTS, EVENTS, EVENTS)
def test_it_equals_a_build_of_all_logs_to_the_byte(tmp_path_factory, first, second, third):
    folder = tmp_path_factory.mktemp("append")
    old = build_store(log_of(first), folder / "old")
    new = old.append(log_of(second), folder / "new")
    rebuilt = build_store(log_of(first + second), folder / "rebuilt", vocabulary=old)
    assert files(new) == files(rebuilt)
    # One frame has another name than two; repeats across two logs are seen by whoever reads both at once.
    # Only an append knows what the store has grown from.
    other = {
        "sources": 0,
        "repeated_rows": 0,
        "grown_from": [old.content_hash],
        "added_to": [old.content_hash],
    }
    assert new.meta["grown_from"] == other["grown_from"]
    assert new.meta | other == rebuilt.meta | other
    SequenceStore.open(new.path, verify=True)
    # Two days in a row, the second in place, are no different from both with the vocabulary of the first day.
    before = new.content_hash
    twice = new.append(log_of(third))
    assert twice.meta["grown_from"] == [old.content_hash, before]
    assert twice.path == new.path
    assert files(twice) == files(build_store(log_of(first + second + third), folder / "all", vocabulary=new))
    assert sorted(path.name for path in folder.iterdir()) == ["all", "new", "old", "rebuilt"]


@settings(max_examples=20)
@given(EVENTS, EVENTS)
def test_no_index_moves(tmp_path_factory, first, second):
    folder = tmp_path_factory.mktemp("append")
    old = build_store(log_of(first), folder / "old")
    new = append(old, log_of(second), folder / "new")
    pairs = [(old.vocabulary, new.vocabulary), (old.users, new.users)]
    pairs += [(old.categories(name), new.categories(name)) for name in ("session_id", "device", "event_type")]
    for before, after in pairs:
        assert before.is_extended_by(after)
        added = after.ids[len(before) :].to_list()
        assert added == sorted(added, key=str.encode)
    assert new.event_types[: len(old.event_types)] == old.event_types
    for name, at in (("event_type", 3), ("session_id", 6), ("device", 7)):
        assert set(new.categories(name).ids) == {event[at] for event in first + second if event[at]}
    assert new.meta["rows"]["read"] == len(first) + len(second) == new.n_events


def test_by_hand(tmp_path):
    frame = {"user_id": ["bob", "bob"], "item_id": ["m", "k"], "timestamp": [T0, T0 + 9]}
    old = build_store(pl.DataFrame(frame), tmp_path / "store")
    day = {
        "user_id": ["cid", "bob", "ann", "bob"],
        "item_id": ["m", "a", "z", "k"],
        "timestamp": [T0, T0, T0, T0 + 20],
    }
    new = old.append(pl.DataFrame(day))
    assert new.users.ids.to_list() == ["bob", "ann", "cid"]
    assert new.vocabulary.ids.to_list() == ["k", "m", "a", "z"]
    # bob's "a" has the time of his "m" and comes after it, because it was added later.
    assert new.items.tolist() == [2, 3, 1, 1, 4, 2]
    assert new.offsets.tolist() == [0, 4, 5, 6]
    assert new.meta["sources"] == ["frame", "frame"]
    assert new.content_hash != old.content_hash
    assert SequenceStore.open(tmp_path / "store", verify=True).content_hash == new.content_hash


def test_bad_rows_of_both_logs_are_kept(tmp_path):
    for name in ("one", "two"):
        (tmp_path / f"{name}.csv").write_text(f"user_id,item_id,timestamp\nann,x,{T0}\nbob,x,{name}\n")
    first, second = (read_events(tmp_path / f"{name}.csv", bad_rows="quarantine") for name in ("one", "two"))
    store = build_store(first, tmp_path / "store").append(second)
    lines = (store.path / QUARANTINE).read_text().splitlines()
    assert [json.loads(line)["raw"] for line in lines] == ["one", "two"]
    assert (store.path / QUARANTINE).stat().st_mode & 0o777 == 0o600
    assert (
        store.meta["rows"]["read"],
        store.meta["rows"]["accepted"],
        store.meta["rows"]["quarantined"],
    ) == (4, 2, 2)
    SequenceStore.open(store.path, verify=True)


def test_a_pair_of_vocabularies_keeps_ids_without_events(tiny_store, tmp_path):
    frame = pl.DataFrame({"user_id": ["bob", "zoe"], "item_id": ["i0", "i5"], "timestamp": [T0, T0]})
    store = build_store(frame, tmp_path / "s", vocabulary=(tiny_store.users, tiny_store.vocabulary))
    assert store.users.ids.to_list() == ["ann", "bob", "cid", "dee", "zoe"]
    assert store.vocabulary.ids.to_list() == ["i1", "i2", "i3", "i4", "i5", "i0"]
    assert store.offsets.tolist() == [0, 0, 1, 1, 1, 2]
    assert store.items.tolist() == [6, 5]
    assert store.split().targets("test")[0].tolist() == []
    SequenceStore.open(store.path, verify=True)


def test_ids_of_the_other_type_do_not_extend_a_vocabulary(tiny_store, tmp_path):
    frame = pl.DataFrame({"user_id": [1], "item_id": [1], "timestamp": [T0]})
    with pytest.raises(DataError, match="ids: expected String values; found Int64 values"):
        build_store(read_events(frame, id_type="int"), tmp_path / "s", vocabulary=tiny_store)
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------------------ refusals


def test_a_k_core_is_refused(tiny_log, tmp_path):
    store = build_store(read_events(tiny_log), tmp_path / "store", min_user_events=2)
    with pytest.raises(DataError) as caught:
        store.append(tmp_path / "no such log.csv")
    assert str(caught.value) == (
        f"{store.path}: expected a store without a k-core; found one with a 2/1-core. "
        "Build the store again from all logs."
    )


def test_an_order_is_no_time(tmp_path):
    (tmp_path / "s.txt").write_text("u a b c\n")
    log = read_events(tmp_path / "s.txt", format="sequences")
    store = build_store(log, tmp_path / "store")
    with pytest.raises(
        DataError, match="expected a store with times, which say where new events belong; found an order"
    ):
        store.append(log)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"id_type": "int"}, r"user ids as in .*store \(string\); found int\. Read the log as the store was read, or: build"),
        ({"time_unit": "order"}, r"times as in .*store \(utc\); found order\."),
        ({"rating": "stars"}, r"further columns as in .*store \(none\); found rating\."),
        ({"label": "stars", "numeric": ["stars"]}, r"further columns .*\(none\); found label, stars \(numeric\)\."),
    ],
)  # fmt: skip
def test_another_kind_of_log_is_refused(tiny_log, tmp_path, options, message):
    store = build_store(tiny_log, tmp_path / "store")
    frame = pl.DataFrame({"user_id": [1], "item_id": [2], "timestamp": [T0], "stars": [1.0]})
    with pytest.raises(MismatchError, match=f"^frame: expected {message}"):
        store.append(read_events(frame, **options))
    assert SequenceStore.open(store.path, verify=True).content_hash == store.content_hash


def test_other_columns_than_the_store(tiny_store, tiny_log):
    with pytest.raises(MismatchError, match=r"\(event_type, watch_time_ms\); found event_type\."):
        tiny_store.append(read_events(tiny_log, event_type="kind"))


def test_an_object_that_shows_an_older_store_appends_nothing(tmp_path, monkeypatch):
    """What others have appended or forgotten in the meantime would be undone."""
    store = build_store(log_of([("a", "x", T0, *[None] * 6)]), tmp_path / "store")
    day = log_of([("b", "y", T0, *[None] * 6)])
    new = store.append(day)
    message = (
        f"expected store {store.content_hash[:12]}; found {new.content_hash[:12]}. The store was replaced"
    )
    for out in (None, tmp_path / "elsewhere"):
        with pytest.raises(MismatchError, match=message):
            store.append(day, out)
    assert SequenceStore.open(store.path, verify=True).content_hash == new.content_hash
    # Somebody else is faster, while the new columns are being written.
    save = np.save

    def replace(*args):
        save(*args)
        monkeypatch.setattr(np, "save", save)
        SequenceStore.open(store.path).forget(["a"])

    monkeypatch.setattr(np, "save", replace)
    with pytest.raises(MismatchError, match="The store was replaced; open it again"):
        new.append(day)
    assert SequenceStore.open(store.path, verify=True).users.ids.to_list() == ["b"]
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_existing_output_and_an_empty_log(tiny_log, tmp_path):
    store = build_store(tiny_log, tmp_path / "store")
    with pytest.raises(OutputExistsError):
        store.append(tmp_path / "no such log.csv", store.path)
    log = read_events(tiny_log)
    with pytest.raises(DataError, match="expected at least one event; found none"):
        store.append(log.with_frame(log.frame.filter(pl.lit(value=False))), tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


@pytest.mark.parametrize("what", ["fsync", "save"])
def test_whatever_write_fails_the_old_store_stays(tiny_log, tmp_path, monkeypatch, what):
    log = read_events(tiny_log, event_type="kind")
    store = build_store(log, tmp_path / "store")
    module = os if what == "fsync" else np

    def failing(*args, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(module, what, failing)
        with pytest.raises(StorageError):
            store.append(log)
    assert SequenceStore.open(store.path, verify=True).content_hash == store.content_hash
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


# --------------------------------------------------------------------------------------------------------- command line


def test_the_command_reads_ids_as_the_store_does(tmp_path, capsys):
    frame = pl.DataFrame({"user_id": [10, 9], "item_id": [1, 1], "timestamp": [T0, T0]})
    store = build_store(read_events(frame, id_type="int"), tmp_path / "store")
    (tmp_path / "day.csv").write_text(f"who,item_id,timestamp\n9,5,{T0 + 1}\n11,5,{T0}\n")
    app = typer.Typer()
    app.command()(command)
    words = [str(store.path), str(tmp_path / "day.csv"), "--user", "who"]
    app([*words, "-o", str(tmp_path / "new")], standalone_mode=False)
    new = SequenceStore.open(tmp_path / "new", verify=True)
    assert new.users.ids.to_list() == [9, 10, 11]
    assert new.items.tolist() == [1, 2, 1, 2]
    assert SequenceStore.open(store.path, verify=True).content_hash == store.content_hash
    said = capsys.readouterr().err
    assert "added 2 events, 1 new users, 1 new items" in said
    app(words, standalone_mode=False)
    assert SequenceStore.open(store.path).items.tolist() == new.items.tolist()
    with pytest.raises(OutputExistsError):
        app([str(store.path), "no such log.csv", "-o", str(tmp_path / "new")], standalone_mode=False)
