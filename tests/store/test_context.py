"""Labels, sessions and context columns in a store: by hand, through append and forget, and damaged."""

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import traces

from usermodel.batch import collate
from usermodel.errors import DataError, IntegrityError
from usermodel.events.event_log import EventLog
from usermodel.events.readers import read_events
from usermodel.events.vocabulary import Vocabulary
from usermodel.report.describe import describe
from usermodel.sampling.protocol import Examples
from usermodel.store.build import build_store
from usermodel.store.forget import forget
from usermodel.store.sequence_store import SequenceStore

T0 = 1_700_000_000
SECRET = "session-of-4711"
NAMES = ["user_id", "item_id", "timestamp", "y", "sid", "dev", "usd"]
EVENTS = [
    ("bob", "x", T0 + 3, 1.0, SECRET, "tv", 0.5),
    ("ann", "y", T0 + 2, None, "7", "NA", None),
    ("ann", "x", T0 + 1, 0.0, "007", None, -1.0),
    ("bob", "y", T0 + 4, -2.0, None, "007", 2.5),
    ("cid", "z", T0 + 9, 5.0, "zz", "rare", 9.0),
]
FRAME = pl.DataFrame(EVENTS, schema=NAMES, orient="row")
OPTIONS = {"label": "y", "session": "sid", "categorical": {"device": "dev"}, "numeric": {"price": "usd"}}
NAN = float("nan")


def make(path, frame=FRAME, **options):
    return build_store(read_events(frame, **OPTIONS), path, **options)


def columns(store):
    """Values behind the codes, None where there is none."""
    out = {}
    for name in store.features:
        values = store.feature(name)
        if name in ("session_id", "device"):
            ids = [None, *store.categories(name).ids]
            out[name] = [ids[code] for code in values]
        else:
            out[name] = [None if np.isnan(value) else float(value) for value in values]
    return out


def test_every_column_by_hand(tmp_path):
    store = make(tmp_path / "store")
    assert store.features == ("label", "session_id", "device", "price")
    assert store.context == {"device": "categorical", "price": "numeric"}
    # ann: x, y; bob: x, y; cid: z. Codes follow the sorted ids.
    assert store.categories("session_id").ids.to_list() == ["007", "7", SECRET, "zz"]
    assert store.feature("session_id").tolist() == [1, 2, 3, 0, 4]
    assert store.categories("device").ids.to_list() == ["007", "NA", "rare", "tv"]
    assert store.feature("device").tolist() == [0, 2, 4, 1, 3]
    np.testing.assert_array_equal(store.feature("label"), [0.0, NAN, 1.0, -2.0, 5.0])
    np.testing.assert_array_equal(store.feature("price"), [-1.0, NAN, 0.5, 2.5, 9.0])
    types = [store.feature(name).dtype for name in store.features]
    assert types == [np.float32, np.int32, np.int32, np.float32]
    assert store.meta["context"] == store.context
    assert store.meta["categories"]["device"] == {"n": 4, "hash": store.categories("device").hash}
    assert store.meta["fitted_on"]["categories"] == "all"
    names = {path.name for path in store.path.iterdir()}
    assert {"session_id.parquet", "device.parquet"} < names
    assert not {"label.parquet", "price.parquet"} & names
    SequenceStore.open(store.path, verify=True)


def test_a_log_on_disk_gives_the_same_store(tmp_path):
    straight = make(tmp_path / "straight")
    read_events(FRAME, **OPTIONS).write(tmp_path / "log")
    again = build_store(EventLog.open(tmp_path / "log"), tmp_path / "again")
    for path in straight.path.iterdir():
        if path.name != "manifest.json":
            assert (again.path / path.name).read_bytes() == path.read_bytes(), path.name


def test_what_the_k_core_removes_leaves_no_category(tmp_path):
    store = make(tmp_path / "store", min_user_events=2)
    assert store.categories("device").ids.to_list() == ["007", "NA", "tv"]
    assert store.categories("session_id").ids.to_list() == ["007", "7", SECRET]
    assert store.feature("device").tolist() == [0, 2, 3, 1]
    assert b"rare" not in b"".join(path.read_bytes() for path in store.path.iterdir())


def test_a_column_without_a_value(tmp_path):
    empty = FRAME.with_columns(pl.lit(None).alias(name) for name in ("y", "sid", "dev", "usd"))
    store = make(tmp_path / "store", empty)
    assert columns(store) == {
        name: [None] * 5 for name in ("label", "session_id", "device", "price")
    }  # fmt: skip
    assert len(store.categories("device")) == 0
    grown = store.append(read_events(FRAME, **OPTIONS))
    assert grown.categories("device").ids.to_list() == ["007", "NA", "rare", "tv"]
    SequenceStore.open(store.path, verify=True)


def test_what_has_no_categories_says_so(tmp_path, tiny_store):
    store = make(tmp_path / "store")
    with pytest.raises(DataError) as caught:
        store.categories("price")
    assert str(caught.value) == (
        "price: expected a column of codes; found session_id, device. Read the numbers with feature('price')."
    )
    with pytest.raises(DataError, match=r"^prise: .*found label, .*price\. Did you mean 'price'\?$"):
        store.categories("prise")
    with pytest.raises(DataError, match=r"Ingest with --session\.$"):
        tiny_store.feature("session_id")
    assert tiny_store.categories("event_type").ids.to_list() == list(tiny_store.event_types)


def test_the_columns_travel_in_batches(tmp_path):
    store = make(tmp_path / "store")
    rows = np.array([2, 0])
    batch = collate(store, Examples(np.array([1, 0]), rows, rows + 2, store.times[rows], rows + 1, rows + 2))
    assert batch.item_index.tolist() == [1, 2, 1, 2]
    assert batch.features["session_id"].tolist() == [3, 0, 1, 2]
    assert batch.features["device"].tolist() == [4, 1, 0, 2]
    assert batch.features["price"].isnan().tolist() == [False, False, False, True]
    kept = batch.select(batch.features["device"] > 0).to("cpu")
    assert kept.features["device"].tolist() == [4, 1, 2]
    assert kept.features["label"][:2].tolist() == [1.0, -2.0]


def test_describe_lists_them(tmp_path):
    store = make(tmp_path / "store")
    facts = describe(store.path).facts["columns"]
    assert facts["device"] == {"kind": "categorical", "n_values": 4, "share_missing": 0.2, "n_categories": 4}
    assert facts["price"] == {
        "kind": "numeric", "n_values": 4, "share_missing": 0.2, "min": -1.0, "mean": 2.75, "max": 9.0
    }  # fmt: skip
    read_events(FRAME, **OPTIONS).write(tmp_path / "log")
    facts = describe(tmp_path / "log").facts["columns"]
    assert facts == {name: {"n_values": 4, "share_missing": 0.2} for name in store.features}


@given(st.lists(st.sampled_from([None, "b", "a", "007", "7", "ü"]), max_size=12))
def test_codes_of_categories_with_gaps(values):
    text = pl.Series(values, dtype=pl.String)
    vocabulary = Vocabulary.build(pl.Series(["7", "a", "b"]))
    expected = [{"7": 1, "a": 2, "b": 3}.get(value, 0) for value in values]
    for column in (text, text.cast(pl.Categorical)):
        assert vocabulary.encode(column).tolist() == expected


# -------------------------------------------------------------------------------------------------------------- forget


def test_sessions_of_the_forgotten_are_gone_and_categories_stay(tmp_path):
    store = make(tmp_path / "store")
    assert traces(store.path, SECRET) == ["session_id.parquet"]
    before = columns(store)
    forget(store, pl.Series(["bob"]))
    assert traces(tmp_path, SECRET) == []
    left = SequenceStore.open(store.path, verify=True)
    assert left.categories("session_id").ids.to_list() == ["007", "7", "zz"]
    assert left.feature("session_id").tolist() == [1, 2, 3]
    # A category keeps its code, also one that nobody has any more.
    assert left.categories("device").hash == store.meta["categories"]["device"]["hash"]
    assert left.feature("device").tolist() == [0, 2, 3]
    assert columns(left) == {name: [*values[:2], values[4]] for name, values in before.items()}
    assert left.meta["categories"]["session_id"]["n"] == 3


def test_a_shared_session_stays_and_appended_ones_keep_their_order(tmp_path):
    store = make(tmp_path / "store")
    more = FRAME.head(2).with_columns(sid=pl.Series(["zz", "0"]), timestamp=pl.col("timestamp") + 100)
    grown = store.append(read_events(more, **OPTIONS))
    assert grown.categories("session_id").ids.to_list() == ["007", "7", SECRET, "zz", "0"]
    forget(grown, pl.Series(["cid"]))
    left = SequenceStore.open(store.path, verify=True)
    assert left.categories("session_id").ids.to_list() == ["007", "7", SECRET, "zz", "0"]
    forget(left, pl.Series(["bob"]))
    left = SequenceStore.open(store.path, verify=True)
    assert left.categories("session_id").ids.to_list() == ["007", "7", "0"]
    assert left.feature("session_id").tolist() == [1, 2, 3]


# -------------------------------------------------------------------------------------------------------------- damage


def reseal(store, change):
    """Change the manifest of a store by hand, hashes of files included."""
    path = store.path / "manifest.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data["meta"].update(context={"../x": "numeric"}), "the facts of a store in its manifest"),
        (lambda data: data["meta"].update(context={"device": "numeric", "price": "odd"}), "the facts of a store"),
        (lambda data: data["meta"].pop("categories"), "the facts of a store in its manifest; found KeyError"),
        (lambda data: data["meta"].update(context={"device": "categorical", "price": "categorical"}), "the facts of a store"),
        (lambda data: data["meta"]["categories"]["device"].update(hash="0"), "the device that its manifest names"),
    ],
)  # fmt: skip
def test_a_manifest_that_lies_is_refused(tmp_path, change, message):
    store = make(tmp_path / "store")
    reseal(store, change)
    with pytest.raises(IntegrityError, match=message):
        SequenceStore.open(store.path, verify=True)


@pytest.mark.parametrize("code", [-1, 5])
def test_codes_outside_their_vocabulary_are_found(tmp_path, code, monkeypatch):
    store = make(tmp_path / "store")
    codes = store.feature("device").copy()
    codes[2] = code
    np.save(store.path / "device.npy", codes)
    monkeypatch.setattr("usermodel.manifest.sha256", lambda path: "same")
    reseal(store, lambda data: [one.update(sha256="same") for one in data["files"].values()])
    with pytest.raises(IntegrityError, match="expected codes of device from 0 to 4; found"):
        SequenceStore.open(store.path, verify=True)


# ---------------------------------------------------------------------------------------------------------- side tables


@pytest.mark.parametrize("source", ["frame", "file", "pandas"])
def test_lists_and_vectors_survive_build_append_and_forget(tmp_path, source):
    items = pl.DataFrame(
        {
            "item_id": ["z", "x", "y", "unheard-of"],
            "tags": [["007", "NA"], [], None, ["?"]],
            "vector": pl.Series([[1, 2], [3, 4], None, [5, 6]], dtype=pl.Array(pl.Float32, 2)),
        }
    )
    people = pl.DataFrame(
        {"user_id": ["bob", "ann"], "words": [["a"], ["b", None]], "at": [[0.5, 1.5], [2.5, 3.5]]}
    )
    people = people.with_columns(pl.col("at").cast(pl.Array(pl.Float64, 2)))
    tables = {"items_table": items, "users_table": people}
    for name, table in tables.items():
        if source == "file":
            table.write_parquet(tmp_path / f"{name}.parquet")
    convert = {
        "frame": lambda n: tables[n],
        "file": lambda n: tmp_path / f"{n}.parquet",
        "pandas": lambda n: tables[n].to_pandas(),
    }
    store = make(tmp_path / "store", **{name: convert[source](name) for name in tables})
    expected = [(1, "x", [], [3.0, 4.0]), (2, "y", None, None), (3, "z", ["007", "NA"], [1.0, 2.0])]
    assert store.table("items").rows() == expected
    # pandas has lists only, where Parquet and polars know that all have one length.
    wanted = pl.List(pl.Float32) if source == "pandas" else pl.Array(pl.Float32, 2)
    assert store.table("items").schema["vector"] == wanted
    assert store.table("users").rows() == [(0, "ann", ["b", None], [2.5, 3.5]), (1, "bob", ["a"], [0.5, 1.5])]
    grown = store.append(read_events(FRAME, **OPTIONS))
    assert grown.table("items").rows() == expected
    forget(grown, pl.Series(["ann"]))
    left = SequenceStore.open(store.path, verify=True)
    assert left.table("items").rows() == expected
    assert left.table("users").rows() == [(0, "bob", ["a"], [0.5, 1.5])]
    assert left.table("items").schema["vector"] == wanted


def test_objects_are_refused(tmp_path):
    odd = pl.DataFrame({"item_id": ["x"], "v": pl.Series([object()], dtype=pl.Object)})
    with pytest.raises(
        DataError, match="items_table: column 'v': expected values that Parquet can hold; found objects"
    ):
        make(tmp_path / "store", items_table=odd)
    mixed = pl.DataFrame({"item_id": ["x", "y"]}).to_pandas().assign(v=[[1], ["a"]])
    with pytest.raises(
        DataError, match="items_table: expected a frame of typed columns; found one of mixed types"
    ):
        make(tmp_path / "store", items_table=mixed)
    assert list(tmp_path.iterdir()) == []
