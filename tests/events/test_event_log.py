"""EventLog on disk: sorted, one shard per user, checked on opening, all or nothing."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usermodel.errors import DataError, IntegrityError, MissingError, OutputExistsError
from usermodel.events import event_log
from usermodel.events.event_log import EventLog
from usermodel.events.readers import read_events
from usermodel.schema import events_schema

T0 = 1_700_000_000
EVENTS = st.lists(
    st.tuples(st.sampled_from("abcdé"), st.sampled_from("xyz"), st.integers(T0, T0 + 3)),
    min_size=1,
    max_size=20,
)


def log_of(events, **options):
    return read_events(
        pl.DataFrame(events, schema=["user_id", "item_id", "timestamp"], orient="row"), **options
    )


def in_order(events):
    """By user, then time; sorted() leaves ties in file order."""
    return [
        (user, item, time * 1_000_000)
        for user, item, time in sorted(events, key=lambda e: (e[0].encode(), e[2]))
    ]


@given(EVENTS, st.integers(1, 8))
def test_rows_are_sorted_with_ties_in_file_order_and_users_stay_together(tmp_path_factory, events, shard):
    folder = tmp_path_factory.mktemp("log")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_log, "SHARD_EVENTS", shard)
        log = log_of(events).write(folder / "log")
    assert log.is_sorted
    assert log.frame.collect().rows() == log_of(events).scan().collect().rows() == in_order(events)
    shards = [pl.read_parquet(path) for path in sorted((folder / "log").glob("*.parquet"))]
    owners = [set(one["user_id"]) for one in shards]
    assert sum(map(len, owners)) == len(set().union(*owners))
    # Every shard but the last is full, and no longer than its last user makes it.
    for one in shards[:-1]:
        assert one.height >= shard
        assert one.filter(pl.col("user_id") != one["user_id"][-1]).height < shard
    assert EventLog.open(folder / "log").frame.collect().rows() == in_order(events)


def test_many_ties_keep_the_order_of_the_file(tmp_path):
    rng = np.random.default_rng(0)
    user, item, time = rng.integers(0, 3, 20_000), rng.permutation(20_000), T0 + rng.integers(0, 2, 20_000)
    log = read_events(pl.DataFrame({"user_id": user, "item_id": item, "timestamp": time}))
    expected = [str(item[row]) for row in np.lexsort((time, user))]
    assert log.scan().collect()["item_id"].to_list() == expected
    assert log.write(tmp_path / "log").frame.collect()["item_id"].to_list() == expected


def test_the_files_have_the_schema_and_the_manifest_the_counts(tmp_path, tiny_log):
    log = read_events(tiny_log, event_type="kind", watch_time="play_ms").write(tmp_path / "log")
    schema = pl.read_parquet_schema(tmp_path / "log" / "events-00000.parquet")
    assert list(schema) == ["user_id", "item_id", "timestamp", "event_type", "watch_time_ms"]
    assert events_schema(features=log.features).names == list(schema)
    assert (log.features, log.n_events()) == (("event_type", "watch_time_ms"), 11)
    facts = event_log.manifest.read(tmp_path / "log", "event-log", verify=True).meta
    assert facts == {
        "n_events": 11,
        "n_users": 4,
        "n_items": 5,
        "user_type": "string",
        "item_type": "string",
        "time_kind": "utc",
        "sources": ["events.csv"],
    }
    ann = log.frame.filter(pl.col("user_id") == "ann").collect()
    assert ann["item_id"].to_list() == ["i1", "i2", "i4", "i3", "i1"]
    assert ann["watch_time_ms"].to_list() == [1500, None, 2000, 2500, 1200]


def test_types_and_time_kind_come_back(tmp_path):
    log = log_of([(1, 2, 3)], id_type="int", time_unit="order").write(tmp_path / "log")
    again = EventLog.open(tmp_path / "log")
    assert (
        (again.user_type, again.item_type, again.time_kind)
        == ("int", "int", "order")
        == (log.user_type, log.item_type, log.time_kind)
    )
    assert again.frame.collect().rows() == [(1, 2, 3)]


def test_equal_input_gives_equal_bytes_wherever_it_lies(tmp_path):
    texts = []
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        source = tmp_path / place / "log.csv"
        source.write_text(f"user_id,item_id,timestamp\nb,x,{T0}\na,y,{T0}\n")
        read_events(source).write(tmp_path / place / "log")
        texts.append((tmp_path / place / "log" / "manifest.json").read_text())
    assert texts[0] == texts[1]


def test_a_filter_keeps_the_rest(tmp_path):
    log = log_of([("b", "x", T0), ("a", "y", T0)]).write(tmp_path / "log")
    less = log.with_frame(log.frame.filter(pl.col("user_id") == "a"))
    assert (less.is_sorted, less.n_events(), less.sources) == (True, 1, log.sources)
    less.write(tmp_path / "log", overwrite=True)
    assert EventLog.open(tmp_path / "log").frame.collect().rows() == [("a", "y", T0 * 10**6)]


def test_a_folder_whose_name_looks_like_a_pattern(tmp_path):
    log_of([("a", "x", T0)]).write(tmp_path / "log[1]*")
    assert EventLog.open(tmp_path / "log[1]*").n_events() == 1


def test_nothing_left_is_refused_and_leaves_nothing(tmp_path):
    log = log_of([("a", "x", T0)])
    with pytest.raises(
        DataError, match=r"^frame: expected at least one event; found none\. Check the input\.$"
    ):
        log.with_frame(log.frame.filter(pl.lit(value=False))).write(tmp_path / "log")
    assert list(tmp_path.iterdir()) == []


def test_existing_output_is_refused_before_anything_is_read(tmp_path):
    log_of([("a", "x", T0)]).write(tmp_path / "log")

    def explode(_):
        raise AssertionError("the log was read")

    unread = log_of([("a", "x", T0)])
    unread = unread.with_frame(unread.frame.map_batches(explode))
    with pytest.raises(OutputExistsError, match="found an existing one"):
        unread.write(tmp_path / "log")


def test_every_kind_of_damage_is_found_on_opening(tmp_path):
    log_of([("a", f"item {n}", T0) for n in range(50)]).write(tmp_path / "log")
    shard = tmp_path / "log" / "events-00000.parquet"
    good = shard.read_bytes()
    flipped = bytearray(good)
    flipped[len(good) // 3] ^= 4
    for bad in (good[:-1], good + b"x", bytes(flipped)):
        shard.write_bytes(bad)
        with pytest.raises(IntegrityError, match=r"events-00000\.parquet: expected"):
            EventLog.open(tmp_path / "log")
    shard.unlink()
    with pytest.raises(IntegrityError, match="found no file"):
        EventLog.open(tmp_path / "log")


def test_it_is_found_from_another_working_folder(tmp_path, monkeypatch):
    log_of([("a", "x", T0)]).write(tmp_path / "log")
    monkeypatch.chdir(tmp_path)
    log = EventLog.open("log")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert log.n_events() == 1
    assert log.sources == ("log",)


def test_something_else_is_no_event_log(tmp_path, tiny_store):
    with pytest.raises(MissingError, match="expected an event-log; found a store"):
        EventLog.open(tiny_store.path)
    with pytest.raises(MissingError, match="expected an event-log; found nothing there"):
        EventLog.open(tmp_path / "log")
    manifest_only = tmp_path / "log"
    manifest_only.mkdir()
    event_log.manifest.seal(manifest_only, "event-log", {}, parts=())
    with pytest.raises(IntegrityError, match="expected an event log; found KeyError"):
        EventLog.open(manifest_only)
