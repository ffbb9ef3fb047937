"""Side tables: ids become numbers, rows about strangers are counted, and every wrong value has its message."""

import numpy as np
import polars as pl
import pytest

from usermodel.errors import DataError, IntegrityError, MismatchError, MissingError
from usermodel.events.readers import read_events
from usermodel.store.build import build_store
from usermodel.store.sequence_store import SequenceStore

T0 = 1_700_000_000
US = T0 * 1_000_000

IMPRESSIONS = pl.DataFrame(
    {
        "user_id": ["bob", "ann", "eve", "ann", "ann", "bob"],
        "item_id": ["i3", "i2", "i1", "i1", "nope", "nope"],
        "timestamp": [US + 5, US + 9, US, US + 9, US, US],
        "clicked": [True, False, True, True, False, False],
        "place": [1, 2, 3, 4, 5, 6],
    }
)
LABELS = pl.DataFrame(
    {
        "user_id": ["cid", "ann", "ann"],
        "prediction_time": [US + 1, US + 2, US + 1],
        "item_id": [None, "i4", "nope"],
        "value": [0.5, 1.0, 2.0],
    }
)


def test_every_table_by_hand(tiny_log, tmp_path):
    store = build_store(
        tiny_log,
        tmp_path / "store",
        impressions=IMPRESSIONS,
        labels=LABELS,
        items_table=pl.DataFrame({"item_id": ["i9", "i2", "i1"], "genre": ["?", "b", "a"]}),
        users_table=pl.DataFrame({"user_id": ["dee", "eve", "ann"], "age": [4, 5, 6]}),
    )
    # By user and time; at one time in the order of the input.
    assert store.table("impressions").rows() == [
        (0, "ann", 2, "i2", US + 9, False, 2),
        (0, "ann", 1, "i1", US + 9, True, 4),
        (1, "bob", 3, "i3", US + 5, True, 1),
    ]
    assert store.table("impressions").columns[:4] == ["user_row", "user_id", "item_index", "item_id"]
    assert store.table("labels").rows() == [
        (0, "ann", 4, "i4", US + 2, 1.0),
        (2, "cid", None, None, US + 1, 0.5),
    ]
    assert store.table("items").rows() == [(1, "i1", "a"), (2, "i2", "b")]
    assert store.table("users").rows() == [(0, "ann", 6), (3, "dee", 4)]
    assert store.meta["tables"] == {
        "impressions": {"read": 6, "written": 3, "unknown_users": 1, "unknown_items": 2},
        "labels": {"read": 3, "written": 2, "unknown_users": 0, "unknown_items": 1},
        "items": {"read": 3, "written": 2, "unknown_items": 1},
        "users": {"read": 3, "written": 2, "unknown_users": 1},
    }
    SequenceStore.open(store.path, verify=True)


def test_the_k_core_of_the_events_decides_who_stays(tiny_log, tmp_path):
    # The 3/2-core leaves ann and bob, i1, i2 and i3.
    store = build_store(
        read_events(tiny_log), tmp_path / "s", min_user_events=3, min_item_events=2, impressions=IMPRESSIONS, labels=LABELS
    )  # fmt: skip
    assert store.table("impressions").height == 3
    assert store.meta["tables"]["labels"] == {"read": 3, "written": 0, "unknown_users": 1, "unknown_items": 2}
    assert store.table("labels").columns == [
        "user_row",
        "user_id",
        "item_index",
        "item_id",
        "prediction_time",
        "value",
    ]


def test_files_and_frames_give_one_table(tiny_log, tmp_path):
    paths = {form: tmp_path / f"impressions.{form}" for form in ("parquet", "csv", "tsv")}
    IMPRESSIONS.write_parquet(paths["parquet"])
    IMPRESSIONS.write_csv(paths["csv"])
    IMPRESSIONS.write_csv(paths["tsv"], separator="\t")
    zoned = IMPRESSIONS.with_columns(pl.from_epoch("timestamp", "us").dt.replace_time_zone("UTC"))
    coded = IMPRESSIONS.with_columns(pl.col("user_id").cast(pl.Categorical), pl.col("clicked").cast(pl.Int8))
    sources = [*paths.values(), str(paths["csv"]), zoned, coded, IMPRESSIONS.lazy(), IMPRESSIONS.to_pandas()]
    expected = build_store(tiny_log, tmp_path / "first", impressions=IMPRESSIONS)
    for number, source in enumerate(sources):
        store = build_store(tiny_log, tmp_path / str(number), impressions=source)
        assert store.content_hash == expected.content_hash, number


def test_ids_in_text_files_are_text(tmp_path):
    events = pl.DataFrame({"user_id": ["007", "7"], "item_id": ["1", "01"], "timestamp": [T0, T0]})
    (tmp_path / "users.csv").write_text("user_id,age\n7,30\n007,40\n")
    store = build_store(events, tmp_path / "store", users_table=tmp_path / "users.csv")
    assert store.table("users").rows() == [(0, "007", 40), (1, "7", 30)]


def test_integer_ids_and_an_order_only_store(tmp_path):
    events = pl.DataFrame({"user_id": [5, 3], "item_id": [1, 2], "timestamp": [0, 1]})
    labels = pl.DataFrame({"user_id": [5, 4], "prediction_time": [1, 1], "value": [1, 0]})
    store = build_store(
        read_events(events, id_type="int", time_unit="order"), tmp_path / "store", labels=labels
    )
    assert store.table("labels").rows() == [(1, 5, 1, 1.0)]


def test_appending_keeps_the_tables(tiny_log, tmp_path):
    store = build_store(tiny_log, tmp_path / "store", impressions=IMPRESSIONS)
    before = store.table("impressions")
    more = pl.DataFrame({"user_id": ["abe"], "item_id": ["i0"], "timestamp": [T0]})
    after = store.append(more)
    assert after.table("impressions").equals(before)
    assert after.meta["tables"] == store.meta["tables"]
    SequenceStore.open(store.path, verify=True)


def test_every_flipped_bit_of_a_table_is_found(tiny_log, tmp_path):
    store = build_store(tiny_log, tmp_path / "store", impressions=IMPRESSIONS)
    path, rng = store.path / "tables" / "impressions.parquet", np.random.default_rng(0)
    good = path.read_bytes()
    for place in rng.integers(0, len(good), 60):
        bad = bytearray(good)
        bad[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(bad)
        for look in (lambda: SequenceStore.open(store.path, verify=True), lambda: store.table("impressions")):
            with pytest.raises(
                IntegrityError, match=r"impressions\.parquet: expected the sha256 of its manifest"
            ):
                look()


def test_the_table_of_another_store_is_refused(tiny_log, tmp_path):
    store = build_store(tiny_log, tmp_path / "store", impressions=IMPRESSIONS)
    new = build_store(tiny_log, store.path, impressions=IMPRESSIONS[:2], overwrite=True)
    with pytest.raises(MismatchError) as caught:
        store.table("impressions")
    assert str(caught.value) == (
        f"{store.path}: expected store {store.content_hash[:12]}; found {new.content_hash[:12]}. "
        "The store was replaced; open it again."
    )
    assert new.table("impressions").height == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("labels", "labels: expected a table of this store; found none. Ingest with --labels."),
        ("items", "items: expected a table of this store; found none. Ingest with --items-table."),
        ("impresions", "impresions: expected a table of this store; found none. Did you mean 'impressions'?"),
        ("../users", "../users: expected a table of this store; found none. Did you mean 'users'?"),
    ],
)
def test_a_table_it_does_not_have(tiny_store, name, message):
    with pytest.raises(DataError) as caught:
        tiny_store.table(name)
    assert str(caught.value) == message


def changed(**columns):
    return IMPRESSIONS.with_columns(**columns)


FIRST = pl.int_range(pl.len()) == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"impresions": 1}, "impresions: expected a side table; found an unknown one. Did you mean 'impressions'?"),
        ({"labels": 7}, "labels: expected a path or a frame; found int. Pass one of these."),
        ({"labels": LABELS.drop("value")}, "labels: expected a column 'value'; found the columns 'user_id', 'prediction_time', 'item_id'. Choose one of: item_id, prediction_time, user_id."),
        ({"impressions": changed(timestamp=pl.lit(T0))}, f"impressions: column 'timestamp': expected microseconds since 1970 UTC, or times with a zone; found {T0}. Convert them."),
        ({"impressions": changed(timestamp=pl.lit(1.5))}, "impressions: column 'timestamp': expected microseconds since 1970 UTC, or times with a zone; found 1.5 in row 1 (6 such rows). Mend or remove these rows."),
        ({"impressions": changed(clicked=pl.lit("perhaps"))}, "impressions: column 'clicked': expected Boolean values; found 'perhaps' in row 1 (6 such rows). Mend or remove these rows."),
        ({"impressions": changed(clicked=pl.when(FIRST).then(2).otherwise(1))}, "impressions: column 'clicked': expected Boolean values; found 2 in row 1 (1 such rows). Mend or remove these rows."),
        ({"impressions": changed(user_id=pl.when(~FIRST).then("user_id"))}, "impressions: column 'user_id': expected String values; found None in row 1 (1 such rows). Mend or remove these rows."),
        ({"impressions": changed(item_id=pl.lit(""))}, "impressions: column 'item_id': expected String values; found '' in row 1 (6 such rows). Mend or remove these rows."),
        ({"users_table": pl.DataFrame({"user_id": ["a", "b", "a"]})}, "users_table: expected one row for each user_id; found several for 'a'. Keep one row for each."),
    ],
)  # fmt: skip
def test_wrong_tables_are_refused_before_anything_is_written(tiny_log, tmp_path, given, message):
    with pytest.raises(DataError) as caught:
        build_store(tiny_log, tmp_path / "store", **given)
    assert str(caught.value) == message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "times",
    [
        ["2023-11-14T22:13:20Z", "2023-11-14T23:13:20+01:00", "2023-11-14 22:13:20.000000 Z"],
        [str(US), "2023-11-14T22:13:20+0000", "2023-11-14T22:13Z"],
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_text_files_may_hold_times_with_a_zone(tiny_log, tmp_path, times, suffix):
    path = tmp_path / f"labels.{suffix}"
    labels = pl.DataFrame({"user_id": ["ann", "bob", "cid"], "prediction_time": times, "value": [0.5, 1, 2]})
    labels.write_csv(path, separator="\t" if suffix == "tsv" else ",")
    found = build_store(tiny_log, tmp_path / "store", labels=path).table("labels")["prediction_time"]
    assert [time // 60_000_000 for time in found] == [US // 60_000_000] * 3


def test_text_times_without_a_zone_or_a_time_are_refused(tiny_log, tmp_path):
    path = tmp_path / "labels.csv"
    for odd in (
        "2023-11-14T22:13:20",
        "2023-11-14",
        "2023-13-14T22:13:20Z",
        "1889-11-14T22:13:20Z",
        "soon",
        '""',
    ):
        path.write_text(f"user_id,prediction_time,value\nann,2023-11-14T22:13:20Z,1\nbob,{odd},1\n")
        with pytest.raises(DataError) as caught:
            build_store(tiny_log, tmp_path / "store", labels=path)
        shown = None if odd == '""' else odd
        assert "expected microseconds since 1970 UTC, or times with a zone; found" in str(caught.value)
        assert str(caught.value).split("found ")[1].startswith((repr(shown), "''"))
    assert not (tmp_path / "store").exists()


def test_files_that_are_none(tiny_log, tmp_path):
    with pytest.raises(MissingError, match="expected a Parquet, CSV or atomic file; found no such file"):
        build_store(tiny_log, tmp_path / "store", labels=tmp_path / "labels.parquet")
    (tmp_path / "labels.parquet").write_text("user_id\n")
    with pytest.raises(DataError, match=r"labels\.parquet: expected a readable Parquet or CSV file; found "):
        build_store(tiny_log, tmp_path / "store", labels=tmp_path / "labels.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["labels.parquet"]
