"""Building a store: equal to a plain reader written in forty lines, independent of row order, all or nothing."""

import csv
import dataclasses
import errno
import io
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usermodel.errors import DataError, OutputExistsError, StorageError
from usermodel.events.event_log import EventLog
from usermodel.events.readers import read_events
from usermodel.store.build import build_store
from usermodel.store.sequence_store import SequenceStore

T0 = 1_700_000_000


def reference(text, min_user, min_item):
    """What a store of this CSV file holds, by the slowest road: user -> rows, item ids, counts."""
    rows = list(csv.reader(io.StringIO(text)))[1:]
    kept = [(user, item, int(time), kind, play) for user, item, time, kind, play in rows]
    while True:
        users, items = (Counter(row[side] for row in kept) for side in (0, 1))
        strong = [row for row in kept if users[row[0]] >= min_user and items[row[1]] >= min_item]
        if len(strong) == len(kept):
            break
        kept = strong
    items = sorted({row[1] for row in kept}, key=str.encode)
    kinds = sorted({row[3] for row in kept if row[3]}, key=str.encode)
    histories = {
        user: [
            {
                "item": items.index(item) + 1,
                "time": time * 1_000_000,
                "kind": kinds.index(kind) + 1 if kind else 0,
                "play": int(play) if play else -1,
            }
            for _, item, time, kind, play in sorted(
                (row for row in kept if row[0] == user), key=lambda row: row[2]
            )
        ]
        for user in sorted({row[0] for row in kept}, key=str.encode)
    }
    rows_count = {
        "read": len(rows),
        "accepted": len(kept),
        "duplicates": 0,
        "quarantined": 0,
        "filtered_by_k_core": len(rows) - len(kept),
    }
    return histories, items, kinds, rows_count


def contents(store):
    """The same of a real store."""
    columns = {
        "item": store.items,
        "time": store.times,
        "kind": store.feature("event_type"),
        "play": store.feature("watch_time_ms"),
    }
    histories = {
        user: [{name: int(column[row]) for name, column in columns.items()} for row in range(start, stop)]
        for user, start, stop in zip(store.users.ids, store.offsets[:-1], store.offsets[1:], strict=True)
    }
    return histories, store.vocabulary.ids.to_list(), list(store.event_types), store.meta["rows"]


def to_csv(events):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(
        [("user_id", "item_id", "timestamp", "kind", "play"), *events]
    )
    return text.getvalue()


def build_from(folder, events, **options):
    path = folder / "log.csv"
    path.write_text(to_csv(events), newline="")
    return build_store(read_events(path, event_type="kind", watch_time="play"), folder / "store", **options)


IDS = st.one_of(
    st.sampled_from(["7", "007", "NA", "null", "nan", "é", "e\u0301", 'a"b', "a,b", "a\nb", " a"]),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=3),
)
EVENTS = st.lists(
    st.tuples(
        IDS,
        IDS,
        st.integers(T0, T0 + 4),
        st.sampled_from(["", "click", "like"]),
        st.sampled_from(["", "0", "12"]),
    ),
    min_size=1,
    max_size=25,
)


@given(EVENTS, st.integers(1, 3), st.integers(1, 3))
def test_it_equals_the_plain_reader(tmp_path_factory, events, min_user, min_item):
    folder = tmp_path_factory.mktemp("differential")
    expected = reference(to_csv(events), min_user, min_item)
    if not expected[0]:
        with pytest.raises(
            DataError, match=f"found none of {len(events)} after the {min_user}/{min_item}-core"
        ):
            build_from(folder, events, min_user_events=min_user, min_item_events=min_item)
        assert [path.name for path in folder.iterdir()] == ["log.csv"]
        return
    store = build_from(folder, events, min_user_events=min_user, min_item_events=min_item)
    assert contents(store) == expected
    assert (
        store.meta["rows"]["read"]
        == store.meta["rows"]["accepted"] + store.meta["rows"]["filtered_by_k_core"]
    )
    SequenceStore.open(store.path, verify=True)


@settings(max_examples=25)
@given(EVENTS, st.randoms(use_true_random=False))
def test_row_order_changes_nothing_when_times_differ(tmp_path_factory, events, random):
    folder = tmp_path_factory.mktemp("order")
    events = [
        (user, item, T0 + number, kind, play) for number, (user, item, _, kind, play) in enumerate(events)
    ]
    first = build_from(folder, events)
    before = (first.path / "manifest.json").read_bytes()
    random.shuffle(events)
    build_from(folder, events, overwrite=True)
    assert (first.path / "manifest.json").read_bytes() == before


def test_ties_keep_the_order_of_the_file(tmp_path):
    # Many of them: an unstable sort leaves a few rows in place.
    rng = np.random.default_rng(0)
    user, item, time = rng.integers(0, 3, 20_000), rng.permutation(20_000), T0 + rng.integers(0, 2, 20_000)
    store = build_store(
        pl.DataFrame({"user_id": user, "item_id": item, "timestamp": time}), tmp_path / "store"
    )
    expected = [str(item[row]) for row in np.lexsort((time, user))]
    assert store.vocabulary.decode(store.items).to_list() == expected


def test_the_tiny_store_by_hand(tiny_store):
    store = tiny_store
    assert store.users.ids.to_list() == ["ann", "bob", "cid", "dee"]
    assert store.vocabulary.ids.to_list() == ["i1", "i2", "i3", "i4", "i5"]
    assert store.offsets.tolist() == [0, 5, 8, 10, 11]
    assert store.items.tolist() == [1, 2, 4, 3, 1, 3, 1, 2, 1, 2, 5]
    seconds = [0, 120, 300, 300, 600, 100, 200, 350, 50, 400, 500]
    assert store.times.tolist() == [(T0 + second) * 1_000_000 for second in seconds]
    assert store.event_types == ("click", "like", "share")
    assert store.feature("event_type").tolist() == [1, 2, 1, 1, 1, 1, 3, 1, 1, 1, 1]
    assert store.feature("watch_time_ms").tolist() == [
        1500,
        -1,
        2000,
        2500,
        1200,
        1000,
        700,
        50,
        300,
        900,
        100,
    ]
    assert store.meta["fitted_on"] == {"vocabulary": "all", "k_core": "all"}
    assert store.meta["sources"] == ["events.csv"]


def test_the_k_core_is_reported_round_by_round(tiny_log, tmp_path):
    store = build_store(read_events(tiny_log), tmp_path / "store", min_user_events=3, min_item_events=2)
    # dee and cid are short at once, and so are i4 and i5; then everybody left has enough.
    assert store.meta["k_core"] == {"min_user_events": 3, "min_item_events": 2, "rounds": [[2, 2, 4]]}
    assert store.meta["rows"] == {
        "read": 11,
        "accepted": 7,
        "duplicates": 0,
        "quarantined": 0,
        "filtered_by_k_core": 4,
    }
    assert store.users.ids.to_list() == ["ann", "bob"]
    assert store.vocabulary.decode(store.items).to_list() == ["i1", "i2", "i3", "i1", "i3", "i1", "i2"]


def test_the_account_of_the_reader_goes_on(tiny_log, tmp_path):
    log = read_events(tiny_log)
    counted = {"rows_read": 20, "accepted": 13, "duplicates": 4, "quarantined": 3, "repeated": 5}
    # Two of the 13 rows are taken out by the caller, four by the k-core.
    log = dataclasses.replace(log, accounting=counted)
    store = build_store(log, tmp_path / "store", min_user_events=3, min_item_events=2)
    assert store.meta["rows"] == {
        "read": 20,
        "accepted": 7,
        "duplicates": 4,
        "quarantined": 3,
        "filtered_by_k_core": 4,
        "filtered_by_caller": 2,
    }
    assert store.meta["repeated_rows"] == 5


def test_every_step_is_told_once_in_order(tiny_log, tmp_path):
    log = read_events(tiny_log, event_type="kind", watch_time="play_ms")
    seen = []
    build_store(log, tmp_path / "store", on_progress=lambda *now: seen.append(now), items_table=pl.DataFrame({"item_id": ["i1"]}))  # fmt: skip
    written = ["offsets", "items", "times", "event_type", "watch_time_ms", "vocabulary", "users"]
    names = ["numbering users", "numbering items", "k-core", "grouping by user", "ordering by time"]
    names += [f"writing {name}" for name in written] + ["side tables", "hashing and flushing"]
    assert seen == [(number, 14, name) for number, name in enumerate([*names, ""])]


@pytest.mark.parametrize("id_type", ["string", "int"])
def test_categories_integers_and_text_give_one_store(tmp_path, id_type):
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "user_id": rng.integers(1000, 1100, 5000),
            "item_id": rng.integers(1000, 1300, 5000) * (1 if id_type == "string" else 10**12),
            "timestamp": T0 + rng.integers(0, 900, 5000),
        }
    )
    log = read_events(frame, id_type=id_type)
    rows = log.frame.collect()
    ids = pl.col("user_id", "item_id")
    plain = rows.with_columns(ids.cast(pl.String if id_type == "string" else pl.Int64))
    ways = [rows, plain, *([plain.with_columns(ids.cast(pl.Categorical))] if id_type == "string" else [])]
    hashes = set()
    for number, way in enumerate(ways):
        store = build_store(
            log.with_frame(way.lazy()), tmp_path / str(number), min_user_events=39, min_item_events=9
        )
        hashes.add(store.content_hash)
    assert len(hashes) == 1
    # Ids of four digits have one order as text and as numbers; the slowest road sorts rows of Python.
    kept = {str(user) for user in store.users.ids}
    items = {str(item) for item in store.vocabulary.ids}
    expected = sorted(
        (row for row in frame.rows() if str(row[0]) in kept and str(row[1]) in items),
        key=lambda row: (row[0], row[2]),
    )
    assert 0 < len(kept) < 100
    assert store.vocabulary.decode(store.items).cast(pl.String).to_list() == [str(row[1]) for row in expected]


def test_ratings_and_unknown_values(tmp_path):
    frame = pl.DataFrame(
        {
            "user_id": ["a", "a"],
            "item_id": [1, 2],
            "timestamp": [T0, T0],
            "stars": [4.5, None],
            "len": [None, 3],
        }
    )
    store = build_store(read_events(frame, rating="stars", duration="len"), tmp_path / "store")
    assert store.features == ("duration_ms", "rating")
    assert store.feature("duration_ms").tolist() == [-1, 3]
    assert store.feature("rating")[0] == 4.5
    assert np.isnan(store.feature("rating")[1])
    assert store.feature("rating").dtype == np.float32


def test_integer_ids_stay_integers(tmp_path):
    frame = pl.DataFrame({"user_id": [2**53 + 1, 2**53], "item_id": [-1, 10], "timestamp": [T0, T0]})
    store = build_store(read_events(frame, id_type="int"), tmp_path / "store")
    assert store.users.ids.to_list() == [2**53, 2**53 + 1]
    assert store.vocabulary.ids.to_list() == [-1, 10]
    assert store.items.tolist() == [2, 1]
    assert store.user_rows(pl.Series([2**53 + 1])).tolist() == [1]


def test_paths_frames_and_logs_on_disk_give_one_store(tiny_log, tmp_path):
    table = pl.read_csv(tiny_log).select("user_id", "item_id", "timestamp")
    sources = [
        tiny_log,
        [str(tiny_log)],
        table,
        table.to_pandas(),
        read_events(table).write(tmp_path / "log"),
    ]
    assert isinstance(sources[-1], EventLog)
    assert isinstance(sources[-2], pd.DataFrame)
    hashes = set()
    for number, source in enumerate(sources):
        store = build_store(source, tmp_path / str(number))
        hashes.add(
            (
                store.meta["vocabulary_hash"],
                store.items.tobytes(),
                store.times.tobytes(),
                store.offsets.tobytes(),
            )
        )
    assert len(hashes) == 1


BUILD = """
import sys
from usermodel.events.readers import read_events
from usermodel.store.build import build_store
build_store(read_events(sys.argv[1], event_type="kind", watch_time="play_ms"), sys.argv[2])
"""


def test_the_same_log_gives_the_same_bytes_in_another_process_and_zone(tiny_log, tiny_store, tmp_path):
    environment = os.environ | {
        "PYTHONHASHSEED": "7",
        "TZ": "Asia/Tokyo",
        "LC_ALL": "C",
        "POLARS_MAX_THREADS": "1",
    }
    subprocess.run(
        [sys.executable, "-c", BUILD, str(tiny_log), str(tmp_path / "store")], check=True, env=environment
    )
    for path in tiny_store.path.iterdir():
        assert (tmp_path / "store" / path.name).read_bytes() == path.read_bytes(), path.name


# ------------------------------------------------------------------------------------------------------------ refusals


def test_a_core_nobody_reaches(tiny_log, tmp_path):
    with pytest.raises(DataError) as caught:
        build_store(read_events(tiny_log), tmp_path / "store", min_user_events=6)
    assert str(caught.value) == (
        f"{tiny_log}: expected at least one event; found none of 11 after the 6/1-core. "
        "Lower --min-user-events and --min-item-events."
    )
    assert list(tmp_path.iterdir()) == []


def test_a_log_without_events(tiny_log, tmp_path):
    log = read_events(tiny_log)
    with pytest.raises(DataError, match="expected at least one event; found none"):
        build_store(log.with_frame(log.frame.filter(pl.lit(value=False))), tmp_path / "store")
    assert list(tmp_path.iterdir()) == []


def test_existing_output_is_refused_before_the_log_is_read(tiny_log, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    store = build_store(tiny_log, tmp_path / "store")
    nowhere = tmp_path / "no such log.csv"
    with pytest.raises(
        OutputExistsError, match="expected an output that does not exist yet; found an existing one"
    ):
        build_store(nowhere, store.path)
    with pytest.raises(
        OutputExistsError, match="expected a store to replace; found a folder that this program did not write"
    ):
        build_store(nowhere, tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "thesis.tex").exists()
    again = build_store(read_events(tiny_log), store.path, min_item_events=2, overwrite=True)
    assert again.content_hash != store.content_hash
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "store"]


@pytest.mark.parametrize("what", ["fsync", "save"])
def test_whatever_write_fails_the_old_store_stays_and_nothing_else(tiny_log, tmp_path, monkeypatch, what):
    """The n-th call fails, for n = 1, 2, ... until none does."""
    log = read_events(tiny_log, event_type="kind")
    old = build_store(log, tmp_path / "store").content_hash
    module = os if what == "fsync" else np
    real = getattr(module, what)
    for n in range(1, 50):
        calls = iter(range(1, 1000))

        def failing(*args, n=n, calls=calls, **options):
            if next(calls) == n:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*args, **options)

        monkeypatch.setattr(module, what, failing)
        try:
            build_store(log, tmp_path / "store", min_item_events=2, overwrite=True)
        except StorageError:
            monkeypatch.setattr(module, what, real)
            found = SequenceStore.open(tmp_path / "store", verify=True).content_hash
            # Only after the exchange, when the parent folder is flushed, may the new store be there.
            assert found == old or (what == "fsync" and next(calls) > 9)
            assert [path.name for path in tmp_path.iterdir()] == ["store"]
        else:
            break
    assert n == (10 if what == "fsync" else 5)
    assert SequenceStore.open(tmp_path / "store", verify=True).content_hash != old
