"""SequenceStore: cheap to send, hard to fool."""

import contextlib
import json
import pickle
import shutil

import numpy as np
import polars as pl
import pytest

from usermodel import manifest
from usermodel.errors import DataError, IntegrityError, MismatchError, MissingError
from usermodel.events.readers import read_events
from usermodel.events.splits import GlobalTimeConfig, LeaveLastOutConfig
from usermodel.events.vocabulary import Vocabulary
from usermodel.store.build import build_store
from usermodel.store.sequence_store import SequenceStore


@pytest.fixture
def copy(tiny_store, tmp_path):
    """A copy that may be damaged."""
    return shutil.copytree(tiny_store.path, tmp_path / "store")


def reseal(folder, **meta):
    """Repair sizes and hashes after a forgery, and change facts."""
    found = json.loads((folder / manifest.NAME).read_text())
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != manifest.NAME}
    facts = {
        name: {"bytes": len(data), "sha256": manifest.sha256(folder / name)} for name, data in files.items()
    }
    merged = {key: value for key, value in (found["meta"] | meta).items() if value is not ...}
    (folder / manifest.NAME).write_text(json.dumps(found | {"files": facts, "meta": merged}))


def test_facts(tiny_store):
    assert (tiny_store.n_users, tiny_store.n_items, tiny_store.n_events) == (4, 5, 11)
    assert (tiny_store.time_kind, tiny_store.features) == ("utc", ("event_type", "watch_time_ms"))
    assert repr(tiny_store) == f"SequenceStore('{tiny_store.path}': 4 users, 5 items, 11 events)"
    assert tiny_store.content_hash == manifest.read(tiny_store.path).content_hash
    assert tiny_store.meta["vocabulary_hash"] == tiny_store.vocabulary.hash


def test_columns_are_read_only_and_read_once(tiny_store):
    for column in (tiny_store.offsets, tiny_store.items, tiny_store.times, tiny_store.feature("event_type")):
        assert isinstance(column, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 1
    assert tiny_store.feature("event_type") is tiny_store.feature("event_type")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "duration_ms",
            r"^duration_ms: expected a column of this store; found event_type, watch_time_ms\. Ingest with --duration\.$",
        ),
        ("rating", r"Ingest with --rating\.$"),
        ("event_tpye", r"Did you mean 'event_type'\?$"),
    ],
)
def test_a_column_it_does_not_have(tiny_store, name, message):
    with pytest.raises(DataError, match=message):
        tiny_store.feature(name)


def test_a_store_without_event_types_says_how_to_get_them(tiny_log, tmp_path):
    store = build_store(tiny_log, tmp_path / "store")
    assert (store.features, store.event_types) == ((), ())
    with pytest.raises(DataError, match=r"found none\. Ingest with --event-type\.$"):
        store.feature("event_type")


def test_users_by_id(tiny_store):
    assert tiny_store.user_rows(pl.Series(["dee", "ann", "ann"])).tolist() == [3, 0, 0]
    assert tiny_store.user_rows(pl.Series([], dtype=pl.String)).tolist() == []
    with pytest.raises(DataError) as caught:
        tiny_store.user_rows(pl.Series(["ann", "eve", "fay"]))
    assert (
        str(caught.value)
        == f"{tiny_store.path}: expected users of this store; found 'eve' and 1 more. Check the ids."
    )
    with pytest.raises(DataError, match="expected String values; found Int64 values"):
        tiny_store.user_rows(pl.Series([7]))


def test_popularity_counts_stop_where_they_are_told(tiny_store):
    everything = tiny_store.item_counts(tiny_store.offsets[1:])
    assert everything.tolist() == [0, 4, 3, 2, 1, 1]
    # ann: i1 i2 i4; bob: i3; cid and dee: one event each.
    train = tiny_store.item_counts(tiny_store.split().train_stop)
    assert train.tolist() == [0, 2, 1, 1, 1, 1]
    assert tiny_store.item_counts(tiny_store.offsets[:-1]).tolist() == [0] * 6


def test_the_default_split_is_leave_last_out(tiny_store):
    split = tiny_store.split()
    assert split.name == tiny_store.split(LeaveLastOutConfig()).name == "leave-last-out"
    assert split.train_stop.tolist() == [3, 6, 9, 11]
    late = tiny_store.split(
        GlobalTimeConfig(valid_from=1_700_000_300_000_000, test_from=1_700_000_400_000_000)
    )
    assert late.train_stop.tolist() == [2, 7, 9, 10]
    assert late.valid_stop.tolist() == [4, 8, 9, 10]


def test_an_order_only_store_refuses_a_split_by_time(tmp_path):
    (tmp_path / "s.txt").write_text("u a b c\nv a b\n")
    store = build_store(read_events(tmp_path / "s.txt", format="sequences"), tmp_path / "store")
    assert store.time_kind == "order"
    assert store.times.tolist() == [0, 1, 2, 0, 1]
    assert store.split().valid_stop.tolist() == [2, 4]
    with pytest.raises(
        DataError, match=r"^data\.split: expected a store with times; found an order-only store\."
    ):
        store.split(GlobalTimeConfig())


# -------------------------------------------------------------------------------------------------------- other processes


def test_it_travels_as_a_path(tiny_store, monkeypatch, tmp_path):
    sent = pickle.dumps(tiny_store)
    assert len(sent) < 1_000
    monkeypatch.chdir(tmp_path)
    again = pickle.loads(sent)
    assert again.content_hash == tiny_store.content_hash
    assert again.items.tolist() == tiny_store.items.tolist()


def test_it_is_found_from_another_working_folder(copy, tiny_log, monkeypatch, tmp_path):
    monkeypatch.chdir(copy.parent)
    store = SequenceStore.open(copy.name)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    whole = SequenceStore.open(copy)
    assert store.users.ids.to_list() == whole.users.ids.to_list()
    assert store.vocabulary.hash == whole.vocabulary.hash
    assert store.items.tolist() == whole.items.tolist()
    # Messages name what the caller named.
    with pytest.raises(DataError, match=f"^{copy.name}: expected users of this store"):
        store.user_rows(pl.Series(["nobody"]))
    store.forget(["bob"])
    assert "bob" not in SequenceStore.open(copy).users.ids
    assert not list((tmp_path / "elsewhere").iterdir())
    with pytest.raises(MismatchError, match=f"^{copy.name}: expected store"):
        store.require_current()


def test_a_store_that_was_moved_away_says_so(copy, monkeypatch):
    store = SequenceStore.open(copy)
    copy.rename(copy.with_name("moved"))
    with pytest.raises(IntegrityError) as caught:
        store.users  # noqa: B018
    where = copy / "users.parquet"
    assert f"{where}: expected an intact Parquet file; found nothing there." in str(caught.value)


def test_a_store_that_was_replaced_in_between_is_refused(copy, tiny_log):
    store = SequenceStore.open(copy)
    sent = pickle.dumps(store)
    new = build_store(read_events(tiny_log), copy, overwrite=True)
    with pytest.raises(MismatchError) as caught:
        pickle.loads(sent)
    assert str(caught.value) == (
        f"{copy}: expected store {store.content_hash[:12]}; found {new.content_hash[:12]}. "
        "The store was replaced; start again."
    )


def test_an_open_store_keeps_its_columns_when_it_is_replaced(copy, tiny_log):
    store = SequenceStore.open(copy)
    events = store.items.tolist(), store.feature("watch_time_ms").tolist()
    build_store(read_events(tiny_log, watch_time="play_ms"), copy, min_user_events=3, overwrite=True)
    assert (store.items.tolist(), store.feature("watch_time_ms").tolist()) == events
    # What it had not read yet belongs to the other store by now.
    with pytest.raises(IntegrityError, match="expected the users that its manifest names; found 2 other ids"):
        _ = store.users


# ----------------------------------------------------------------------------------------------------------------- damage


def test_nothing_there(tmp_path):
    with pytest.raises(MissingError, match="expected a store; found nothing there"):
        SequenceStore.open(tmp_path / "store")


def test_every_flipped_byte_of_every_file_is_found_when_asked(copy):
    rng = np.random.default_rng(0)
    for path in sorted(copy.iterdir()):
        good = path.read_bytes()
        for place in rng.integers(0, len(good), 25):
            bad = bytearray(good)
            bad[place] ^= 1 << int(rng.integers(8))
            path.write_bytes(bad)
            if path.name == manifest.NAME:
                # A flip in a fact is no damage a reader could see, but it is never a traceback.
                with contextlib.suppress(IntegrityError, MissingError):
                    SequenceStore.open(copy, verify=True)
            else:
                with pytest.raises(IntegrityError, match=path.name):
                    SequenceStore.open(copy, verify=True)
        path.write_bytes(good)
    SequenceStore.open(copy, verify=True)


@pytest.mark.parametrize(
    "name", ["offsets.npy", "items.npy", "times.npy", "event_type.npy", "users.parquet", "vocabulary.parquet"]
)
@pytest.mark.parametrize("keep", [0, 0.5, 0.99])
def test_a_truncated_column_is_always_found(copy, name, keep):
    whole = (copy / name).read_bytes()
    (copy / name).write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(
        IntegrityError, match=rf"{name}: expected {len(whole)} bytes; found {int(keep * len(whole))} bytes"
    ):
        SequenceStore.open(copy)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("offsets", lambda x: x[[0, 2, 1, 3, 4]], "offsets that rise from 0"),
        ("offsets", lambda x: np.r_[1, x[1:]], "offsets that rise from 0"),
        ("offsets", lambda x: np.r_[x[:-1], 12], "offsets that rise from 0"),
        ("offsets", lambda x: np.r_[x[:-1], -1], "offsets that rise from 0"),
        ("offsets", lambda x: x[:-1], "4 users with 11 events; found columns of shape"),
        ("offsets", lambda x: x.astype(np.int32), "4 users with 11 events"),
        ("items", lambda x: x[:-1], "4 users with 11 events"),
        ("items", lambda x: x.astype(np.float32), "4 users with 11 events"),
        ("items", lambda x: x[:, None], "4 users with 11 events"),
        ("times", lambda x: np.r_[x, x], "4 users with 11 events"),
        ("times", lambda x: x.astype(np.float64), "4 users with 11 events"),
        ("watch_time_ms", lambda x: x[:-1], "watch_time_ms as 11 numbers"),
        ("event_type", lambda x: x.astype("U3"), "event_type as 11 numbers"),
        ("event_type", lambda x: x.astype(object), "expected an array; found .* Python objects in dtype"),
    ],
)  # fmt: skip
def test_a_repaired_hash_does_not_hide_a_broken_structure(copy, name, change, message):
    path = copy / f"{name}.npy"
    np.save(path, change(np.load(path)), allow_pickle=True)
    reseal(copy)
    with pytest.raises(IntegrityError, match=message):
        SequenceStore.open(copy)


@pytest.mark.parametrize(
    ("name", "row", "value", "message"),
    [
        ("items", 3, 0, "expected item indices 1 to 5; found 0 to 5"),
        ("items", 0, 6, "expected item indices 1 to 5; found 1 to 6"),
        ("times", 4, 5, "expected times that never fall within a user; found a fall at row 4"),
        ("times", 10, 5, None),
    ],
)
def test_a_deep_check_looks_at_every_event(copy, name, row, value, message):
    column = np.load(copy / f"{name}.npy")
    column[row] = value
    np.save(copy / f"{name}.npy", column)
    reseal(copy)
    SequenceStore.open(copy)
    if message is None:
        # The only event of the last user may be as early as it likes.
        SequenceStore.open(copy, verify=True)
    else:
        with pytest.raises(IntegrityError, match=message):
            SequenceStore.open(copy, verify=True)


def test_ids_of_another_store_are_found(copy):
    ids = Vocabulary.load(copy / "users.parquet").ids.to_list()
    Vocabulary.build(pl.Series([*ids[:-1], "eve"])).save(copy / "users.parquet")
    reseal(copy)
    with pytest.raises(IntegrityError, match="expected the users that its manifest names; found 4 other ids"):
        _ = SequenceStore.open(copy).users
    with pytest.raises(IntegrityError, match="expected the users that its manifest names"):
        SequenceStore.open(copy, verify=True)


def test_too_few_ids_are_found(copy):
    shorter = Vocabulary.load(copy / "vocabulary.parquet").ids[:-1]
    Vocabulary(shorter).save(copy / "vocabulary.parquet")
    reseal(copy, vocabulary_hash=Vocabulary(shorter).hash)
    with pytest.raises(IntegrityError, match="expected 5 item ids and 4 user ids; found 4 and 4"):
        SequenceStore.open(copy, verify=True)


@pytest.mark.parametrize(
    "meta",
    [
        {"n_users": ...},
        {"n_items": "many"},
        {"n_events": None},
        {"n_users": 3},
        {"n_users": -1},
        {"n_events": 10**12},
        {"features": ...},
        {"features": 7},
        {"time_kind": "lunar"},
        {"time_kind": ...},
    ],
    ids=str,
)
def test_wrong_facts_are_an_integrity_error(copy, meta):
    reseal(copy, **meta)
    with pytest.raises(IntegrityError, match="Ingest again"):
        SequenceStore.open(copy, verify=True)


def test_a_feature_name_is_never_a_path(copy, tmp_path):
    np.save(tmp_path / "secret.npy", np.arange(11))
    reseal(copy, features=["../secret", "event_type"])
    store = SequenceStore.open(copy)
    assert store.features == ("event_type",)
    with pytest.raises(DataError, match=r"^\.\./secret: expected a column of this store"):
        store.feature("../secret")
