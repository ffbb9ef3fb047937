"""What may be embedded: stores, logs, frames, files and written histories give the same vectors."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
import tiny
from command import usermodel

from usermodel.embeddings.inputs import ONE_USER
from usermodel.embeddings.user_encoder import UserEncoder
from usermodel.errors import ConfigError, DataError, MissingError
from usermodel.events.readers import read_events
from usermodel.store.build import build_store
from usermodel.training.pretrain import pretrain

CLOSE = {"rtol": 1e-5, "atol": 1e-6}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    store = tiny.make_store(folder / "store")
    return store, UserEncoder.load(tiny.make_run(store, folder / "run"))


@pytest.fixture(scope="module")
def clocked(made, tmp_path_factory):
    """An encoder that reads time gaps."""
    recipe = tiny.RECIPE.override({"encoder.inputs.time_gap_buckets": 8, "training.max_epochs": 1})
    run = pretrain(made[0], recipe, tmp_path_factory.mktemp("clocked") / "run")
    return UserEncoder.load(run)


def pairs(frame, user, unit=1_000_000):
    rows = frame.filter(pl.col("user_id") == user)
    return [(item, time * unit) for item, time in rows.select("item_id", "timestamp").rows()]


def same(found, expected):
    assert sorted(found.ids) == sorted(expected.ids)
    for key in expected:
        np.testing.assert_allclose(found[key], expected[key], **CLOSE)
    order = found.columns.with_columns(found.ids.alias("id")).sort("id").drop("id")
    assert order.equals(expected.columns.with_columns(expected.ids.alias("id")).sort("id").drop("id"))


def test_logs_frames_files_and_histories_give_the_vectors_of_the_store(made, clocked, tmp_path):
    store, plain = made
    frame = tiny.frame().sample(fraction=1, shuffle=True, seed=1)
    frame.write_parquet(tmp_path / "events.parquet")
    frame.write_csv(tmp_path / "events.csv")
    read_events(frame).write(tmp_path / "log")
    histories = {user: pairs(frame, user) for user in frame["user_id"].unique(maintain_order=True)}
    for encoder in (plain, clocked):
        expected = encoder.encode(store)
        for source in (store.path, str(store.path), read_events(frame), tmp_path / "log"):
            same(encoder.encode(source), expected)
        files = tmp_path / "events.parquet", str(tmp_path / "events.csv")
        for source in (frame, frame.to_pandas(), frame.to_arrow(), frame.lazy(), *files):
            same(encoder.encode(source), expected)
        same(encoder.encode(histories), expected)
        assert encoder.encode(histories).ids.to_list() == list(histories)


def test_one_history_needs_no_id(made):
    store, encoder = made
    history = pairs(tiny.frame(), "u003")
    found = encoder.encode(history)
    assert found.ids.to_list() == [ONE_USER]
    np.testing.assert_allclose(found[ONE_USER], encoder.encode(store)["u003"], **CLOSE)
    # Ties in time keep the order in which they are given; the rest is sorted.
    np.testing.assert_allclose(encoder.encode(history[::-1])[ONE_USER], found[ONE_USER], **CLOSE)
    times = [datetime(2023, 1, 1, tzinfo=UTC) + timedelta(minutes=i) for i in range(len(history))]
    clock = [(item, time) for (item, _), time in zip(history, times, strict=True)]
    np.testing.assert_allclose(encoder.encode(clock)[ONE_USER], found[ONE_USER], **CLOSE)
    assert found.columns["prediction_time"].to_list() == [max(time for _, time in history) + 1]


def test_any_64_bit_time_will_do(made):
    _, encoder = made
    low, high = -(2**63), 2**63 - 1
    found = encoder.encode(
        {"a": [("i001", low), ("i002", 0), ("i003", high)], "b": [("i001", 1), ("i002", 2), ("i003", 3)]}
    )
    np.testing.assert_array_equal(found["a"], found["b"])
    assert found.columns["prediction_time"].to_list() == [high, 4]
    frame = pl.DataFrame(
        {"user_id": ["a"] * 3, "item_id": ["i003", "i001", "i002"], "timestamp": [high, low, 0]}
    )
    np.testing.assert_allclose(encoder.encode(frame)["a"], found["a"], **CLOSE)
    with pytest.raises(DataError, match=r"history of 'a': expected \(item, time\) pairs"):
        encoder.encode({"a": [("i001", 2**63)]})


def test_unknown_items_are_skipped_and_counted_and_who_is_cold_is_flagged(made):
    store, encoder = made
    some = pairs(tiny.frame(), "u003")
    found = encoder.encode(
        {
            "known": some,
            "mixed": [("new", 0), *some, ("newer", 2**50)],
            "strange": [("new", 1), ("newer", 2)],
            "nobody": [],
        }
    )
    assert found.columns["n_events"].to_list() == [len(some), len(some) + 2, 2, 0]
    assert found.columns["n_unknown"].to_list() == [0, 2, 2, 0]
    assert found.columns["is_cold"].to_list() == [False, False, True, True]
    assert found.columns["prediction_time"].to_list()[2:] == [3, None]
    np.testing.assert_allclose(found["mixed"], found["known"], **CLOSE)
    assert not found["strange"].any()
    assert not found["nobody"].any()
    assert found["known"].any()
    del store


def test_nothing_gives_an_empty_table(made):
    _, encoder = made
    assert len(encoder.encode({})) == 0
    assert len(encoder.encode(tiny.frame().clear().to_pandas())) == 0
    assert encoder.encode(tiny.frame().clear()).to_numpy().shape == (0, 8)
    assert encoder.encode([])[ONE_USER].tolist() == [0] * 8


@pytest.mark.parametrize(
    "option",
    ["inputs.event_type", "inputs.watch_time_buckets", "inputs.time_gap_buckets", "time_bias_buckets"],
)
def test_nothing_is_embedded_by_encoders_that_read_more_than_items(option, tmp_path):
    size = tiny.frame().height
    more = {
        "event_type": ["click", "like"] * (size // 2) + ["click"] * (size % 2),
        "watch_time_ms": [500] * size,
    }
    log = read_events(
        tiny.frame().with_columns(**{name: pl.Series(values) for name, values in more.items()}),
        event_type="event_type",
        watch_time="watch_time_ms",
    )
    value = True if option.endswith("type") else 4
    recipe = tiny.RECIPE.override({f"encoder.{option}": value, "training.max_epochs": 1})
    store = build_store(log, tmp_path / "store")
    encoder = UserEncoder.load(pretrain(store, recipe, tmp_path / "run"))
    empty = tiny.frame().clear()
    sources = empty, empty.lazy(), empty.to_pandas(), empty.to_arrow(), log.with_frame(log.frame.clear()), {}
    for number, source in enumerate(sources):
        found = encoder.encode(source)
        assert found.to_numpy().shape == (0, 8)
        assert found.columns.columns == encoder.encode(store).columns.columns
        encoder.export(source, tmp_path / f"e{number}.parquet")
        assert pl.read_parquet(tmp_path / f"e{number}.parquet").height == 0
    assert encoder.encode(store, users=[]).to_numpy().shape == (0, 8)
    # Users without events need no columns of events.
    cold = encoder.encode({"a": [], "b": []})
    assert cold.ids.to_list() == ["a", "b"]
    assert not cold.to_numpy().any()
    assert cold.columns["is_cold"].all()


def test_columns_can_be_named(made):
    store, encoder = made
    frame = tiny.frame().rename({"user_id": "uid", "item_id": "vid", "timestamp": "ts"})
    reading = {"user": "uid", "item": "vid", "time": "ts", "time_unit": "s"}
    same(encoder.encode(frame, reading=reading), encoder.encode(store))
    assert encoder.encode(frame, reading=reading, users=["u004", "u001"]).ids.to_list() == ["u004", "u001"]
    with pytest.raises(DataError, match="users of this store; found 'u999'"):
        encoder.encode(frame, reading=reading, users=["u999"])


def test_event_types_keep_their_codes(tmp_path):
    frame = tiny.frame().with_columns(kind=pl.Series(["view", "buy", "click"] * 100)[: tiny.frame().height])
    store = build_store(read_events(frame, event_type="kind"), tmp_path / "store")
    recipe = tiny.RECIPE.override({"encoder.inputs.event_type": True, "training.max_epochs": 1})
    encoder = UserEncoder.load(pretrain(store, recipe, tmp_path / "run"))
    expected = encoder.encode(store)
    same(encoder.encode(read_events(frame, event_type="kind")), expected)
    # Without the first type in order, with a new one, and of one user only.
    few = frame.filter(pl.col("user_id") == "u003").with_columns(pl.col("kind").replace("view", "aaa"))
    found = encoder.encode(read_events(few, event_type="kind"))
    assert set(few["kind"]) == {"buy", "click", "aaa"}
    assert np.abs(found["u003"] - expected["u003"]).max() > 1e-4
    with pytest.raises(ConfigError, match=r"encoder\.inputs\.event_type"):
        encoder.encode(frame)


def test_as_of_is_the_past(made, clocked):
    """Whoever is embedded as of a moment has the vector of a log that ended before it."""
    store, plain = made
    frame = tiny.frame()
    cut = int(frame["timestamp"].quantile(0.5))
    before = frame.filter(pl.col("timestamp") < cut)
    for encoder in (plain, clocked):
        found = encoder.encode(store, as_of=cut * 1_000_000)
        assert len(found) == store.n_users
        past = encoder.encode(read_events(before))
        for key in found:
            if key in past:
                np.testing.assert_allclose(found[key], past[key], **CLOSE)
            else:
                assert not found[key].any()
        assert found.columns["n_events"].sum() == before.height
        assert set(found.columns["prediction_time"]) == {cut * 1_000_000}
        clock = datetime.fromtimestamp(cut, UTC)
        for spelt in (clock, clock.isoformat(), str(cut * 1_000_000)):
            np.testing.assert_array_equal(encoder.encode(store, as_of=spelt).vectors, found.vectors)
        same(encoder.encode(frame, as_of=clock), found)
    with pytest.raises(ConfigError, match="as_of: expected a time with a zone; found '2024-01-01'"):
        plain.encode(store, as_of="2024-01-01")
    with pytest.raises(ConfigError, match="a time with a zone"):
        plain.encode(store, as_of=datetime(2024, 1, 1))  # noqa: DTZ001


def test_as_of_in_another_unit_is_refused(made):
    """Seconds taken for microseconds are 1970: everyone would be without events."""
    store, encoder = made
    cut = int(tiny.frame()["timestamp"].quantile(0.5))
    for spelt in (cut, str(cut), cut * 1_000, cut * 10**9, 0, -1):
        with pytest.raises(
            ConfigError, match=r"as_of: expected microseconds since 1970 UTC, .*; found -?[0-9]+\."
        ):
            encoder.encode(store, as_of=spelt)
        with pytest.raises(ConfigError, match="expected microseconds since 1970 UTC"):
            encoder.encode(tiny.frame(), as_of=spelt)
    # Pairs may count time in any way, and positions are no times.
    pairs = [("i001", 1), ("i002", 2)]
    np.testing.assert_allclose(
        encoder.encode(pairs, as_of=2)[ONE_USER], encoder.encode(pairs[:1])[ONE_USER], **CLOSE
    )
    order = read_events(tiny.frame(), time_unit="order")
    assert len(encoder.encode(order, as_of=1)) == store.n_users


def test_an_empty_path_is_not_the_working_folder(made, tmp_path, monkeypatch):
    store, encoder = made
    monkeypatch.chdir(store.path)
    for source in ("", [""]):
        with pytest.raises(DataError, match="source: expected a path; found ''"):
            encoder.encode(source)
    err = usermodel("embed", encoder.path, "", "-o", tmp_path / "x.parquet", code=2)[1]
    assert "expected a path; found ''" in err


def test_the_command_says_which_users_have_nothing_before_as_of(made, tmp_path):
    store, encoder = made
    words = ("embed", encoder.path, store.path, "--as-of")
    err = usermodel(*words, 1_709_999_999, "-o", tmp_path / "x.parquet", code=2)[1]
    assert "found 1709999999" in err
    assert not (tmp_path / "x.parquet").exists()
    err = usermodel(*words, 10**15, "-o", tmp_path / "past.parquet")[1]
    assert f"{store.n_users} users have no events before that time; their vectors are zeros" in err


def test_normalized_vectors_have_length_one(made):
    store, encoder = made
    found = encoder.encode(store, normalize=True).to_numpy()
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(found, encoder.encode(store).normalized().to_numpy(), atol=1e-6)
    assert not encoder.encode([], normalize=True)[ONE_USER].any()


def test_what_cannot_be_embedded_is_refused(made, tmp_path):
    store, encoder = made
    for source, error, match in (
        (7, DataError, "expected a path, a list of paths, or a frame; found int"),
        (tmp_path / "nowhere", MissingError, "nowhere"),
        ({1.5: []}, DataError, "expected text or whole numbers as ids; found float"),
        ({"a": [], 1: []}, DataError, "found int, str"),
        ([("i001", 1.5)], DataError, "expected .item, time. pairs"),
        ([("i001",)], DataError, "expected .item, time. pairs"),
        ([(5, 1)], DataError, "expected items of type str; found 5 of type int"),
        ([("i001", datetime(2024, 1, 1))], DataError, "with a zone"),  # noqa: DTZ001
        (encoder.path, DataError, "expected histories; found 'run'"),
    ):
        with pytest.raises(error, match=match):
            encoder.encode(source)
    with pytest.raises(ConfigError, match="expected options of reading for a frame or files only"):
        encoder.encode(store, reading={"user": "uid"})
    for options in ({"processes": 0}, {"batch_events": 0}):
        with pytest.raises(ConfigError, match="expected a whole number from 1; found 0"):
            encoder.encode(store, **options)
    for moment in (2**63, -(2**63) - 1, "9" * 30):
        with pytest.raises(ConfigError, match="as_of: expected a 64-bit integer"):
            encoder.encode(store, as_of=moment)
    for users in ([2**70], [True], "u001", [1]):
        with pytest.raises(DataError):
            encoder.encode(store, users=users)
    for histories in ({2**70: []}, {"\ud800": []}, {"a": [("\ud800", 1)]}):
        with pytest.raises(DataError, match=r"ids: expected|expected .item, time. pairs"):
            encoder.encode(histories)
    with pytest.raises(ConfigError, match="expected a store, which every process can open"):
        encoder.encode({"a": []}, processes=2)
    with pytest.raises(ConfigError, match="expected a device of this machine"):
        UserEncoder.load(encoder.path, device="nonsense")
