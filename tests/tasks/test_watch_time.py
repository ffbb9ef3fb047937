"""Watch time on frozen vectors: rows, leakage, what vectors are worth, chance and oracles."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from usermodel.errors import DataError, MismatchError, NumericError
from usermodel.events.readers import read_events
from usermodel.events.splits import PARTS, GlobalTimeConfig, LeaveLastOutConfig
from usermodel.heads.catalog import heads_of
from usermodel.heads.d2q import D2qConfig
from usermodel.heads.watch_time import WatchTimeConfig
from usermodel.heads.watch_time_model import CMixupConfig, WatchTimeModelConfig
from usermodel.store.build import build_store
from usermodel.tasks.row_columns import OUTCOMES, durations
from usermodel.tasks.row_features import RowFeatures
from usermodel.tasks.rows import event_rows, new_rows
from usermodel.tasks.watch_time import WatchTime
from usermodel.tasks.watch_time_scorer import WatchTimeScorer
from usermodel.training.fit_rows import FitRowsConfig

N_USERS, EACH, SECOND = 60, 30, 1_000_000
START = 1_700_000_000 * SECOND
FIT = FitRowsConfig(epochs=15, batch_rows=256, learning_rate=0.01)


def frame(seed=0):
    """Users watch a share of an item that is half their own taste and half chance; one event in ten has no watch time."""
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(N_USERS), EACH)
    n = len(user)
    duration = rng.choice([5_000, 20_000, 60_000], n)
    share = 1 / (1 + np.exp(-(rng.normal(size=N_USERS)[user] + rng.normal(size=n))))
    watched = np.where(rng.random(n) < 0.1, -1, np.round(duration * share)).astype(np.int64)
    return pl.DataFrame(
        {
            "user_id": [f"u{one}" for one in user],
            "item_id": [f"i{one}" for one in rng.integers(0, 40, n)],
            # Two events of a user at each moment.
            "timestamp": START + (np.tile(np.arange(EACH) // 2, N_USERS) * 3600 + user) * SECOND,
            "watch_time_ms": pl.Series(watched).set(pl.Series(watched < 0), None),
            "duration_ms": duration,
            "event_type": "play",
            "place": rng.choice(["home", "work"], n),
            "speed": rng.normal(3, 2, n),
        }
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    log = read_events(
        frame(),
        time_unit="us",
        watch_time="watch_time_ms",
        duration="duration_ms",
        event_type="event_type",
        categorical={"place": "place"},
        numeric={"speed": "speed"},
    )
    items = pl.DataFrame(
        {"item_id": [f"i{one}" for one in range(40)], "kind": ["song", "film"] * 20, "year": range(40)}
    )
    return build_store(log, tmp_path_factory.mktemp("watch") / "store", items_table=items)


def test_rows_are_the_events_with_a_watch_time_and_histories_are_strictly_earlier(store):
    task = WatchTime()
    rows = task.rows(store)
    known = store.feature("watch_time_ms") >= 0
    assert np.array_equal(rows.place, np.flatnonzero(known))
    assert (rows.stop <= rows.place).all()
    first = store.offsets[rows.user]
    times = store.times
    late = rows.stop > first
    assert (times[rows.stop[late] - 1] < times[rows.place[late]]).all()
    assert (times[rows.stop] == times[rows.place]).all()  # nothing earlier is left out
    examples = task.requests(store, 5)
    assert (examples.lengths <= 5).all()
    assert np.array_equal(examples.stop, rows.stop)


def test_parts_are_those_of_the_split(store):
    split = store.split(LeaveLastOutConfig())
    rows = event_rows(store, split, np.ones(store.n_events, dtype=bool))
    for number, name in enumerate(PARTS):
        first, stop = split.part(name)
        inside = np.concatenate([np.arange(a, b) for a, b in zip(first, stop, strict=True)])
        assert np.array_equal(rows.place[rows.of(name)], inside)
        assert (rows.part[rows.of(name)] == number).all()


def test_features_are_fitted_on_training_rows(store):
    rows = WatchTime().rows(store)
    train = rows.of("train")
    names = (
        "user_id",
        "item_id",
        "place",
        "speed",
        "duration",
        "hour",
        "weekday",
        "items.kind",
        "items.year",
    )
    features = RowFeatures(names, min_count=2).fit(store, rows)
    batch = features.batch(store, rows, None)
    shape = features.shape
    assert [name for name, _ in shape.fields] == [
        "user_id",
        "item_id",
        "place",
        "hour",
        "weekday",
        "items.kind",
    ]
    assert shape.numbers == ("speed", "duration", "items.year")
    for place, (_, size) in enumerate(shape.fields):
        codes = batch.codes[train, place]
        assert set(codes.tolist()) - {0} == set(range(1, size + 1))
    torch.testing.assert_close(batch.numbers[train].mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(batch.numbers[train].std(0, unbiased=False), torch.ones(3), atol=1e-5, rtol=0)


def test_a_category_that_training_hardly_has_is_unknown(store):
    rows = WatchTime().rows(store)
    some = int(np.bincount(store.items[rows.place[rows.of("train")]])[1:].min())
    features = RowFeatures(("item_id",), min_count=some + 1).fit(store, rows)
    batch = features.batch(store, rows, None)
    rare = np.flatnonzero(np.bincount(store.items[rows.place[rows.of("train")]], minlength=41) <= some)
    assert (batch.codes[np.isin(store.items[rows.place], rare)] == 0).all()
    assert (batch.codes[~np.isin(store.items[rows.place], rare)] > 0).all()


@pytest.mark.parametrize("name", OUTCOMES)
def test_outcomes_are_no_features(store, name):
    with pytest.raises(DataError, match="found an outcome"):
        WatchTime(features=(name,), fit=FIT).score(None, store)


@pytest.mark.parametrize(
    ("name", "message"),
    [("plaze", "mean 'place'"), ("items.kin", "mean 'kind'"), ("users.age", "--users-table")],
)
def test_a_mistyped_feature_is_named(store, name, message):
    with pytest.raises(DataError, match=message):
        WatchTime(features=(name,), fit=FIT).score(None, store)


def test_one_row_a_metric_then_by_duration(store):
    found = WatchTime(fit=FIT).score(None, store)
    whole = {one.metric: one for one in found if not one.by}
    assert list(whole) == ["mae", "rmse", "xauc", "bias", "quantile_calibration"]
    assert all(one.low <= one.value <= one.high for one in whole.values())
    assert {one.n for one in whole.values()} == {len(WatchTime().rows(store).of("test"))}
    assert "in seconds" in whole["mae"].definition
    assert "equal guesses count one half" in whole["xauc"].definition
    groups = [one for one in found if one.by]
    assert {one.by for one in groups} == {"duration"}
    assert sum(one.n for one in groups if one.metric == "mae") == whole["mae"].n
    # Duration says a lot, and the user's own code the rest.
    assert whole["xauc"].value > 0.75


def test_a_vector_that_knows_the_taste_helps(store):
    """The planted taste of each user as a vector, in place of the user's code."""
    task = WatchTime(features=("duration",), fit=FIT)
    rows = task.rows(store)
    taste = np.random.default_rng(0)
    taste.choice([5_000, 20_000, 60_000], N_USERS * EACH)
    numbers = np.array([int(one[1:]) for one in store.users.ids])
    vectors = taste.normal(size=N_USERS)[numbers][rows.user][:, None].astype(np.float32)
    without, with_it = (task.score(one, store) for one in (None, vectors))
    assert with_it[2].metric == "xauc"
    assert with_it[2].low > without[2].value


def test_with_shuffled_labels_it_scores_at_chance(tmp_path):
    """The leak guard: what is left to learn is nothing."""
    shuffled = frame()
    order = np.random.default_rng(1).permutation(len(shuffled))
    shuffled = shuffled.with_columns(pl.col("watch_time_ms").gather(order))
    log = read_events(shuffled, time_unit="us", watch_time="watch_time_ms", duration="duration_ms")
    found = WatchTime(fit=FIT).score(None, build_store(log, tmp_path / "store"))
    (xauc,) = (one for one in found if one.metric == "xauc" and not one.by)
    assert xauc.low < 0.5 < xauc.high


def test_a_ratio_needs_durations(store):
    found = WatchTime(target="ratio", fit=FIT).score(None, store)
    assert "over duration" in found[0].definition
    assert found[0].value < 1.0  # a mean error of shares


def test_without_durations_the_rest_will_do(tmp_path):
    log = read_events(frame().drop("duration_ms"), time_unit="us", watch_time="watch_time_ms")
    found = WatchTime(fit=FIT).score(None, build_store(log, tmp_path / "store"))
    assert "on user_id, item_id" in found[0].definition
    assert not any(one.by for one in found)


def test_any_head_and_mixup(store):
    model = WatchTimeModelConfig(head=D2qConfig(groups=3), mixup=CMixupConfig(), hidden=(16,), dropout=0.1)
    assert WatchTimeModelConfig.from_dict(model.to_dict()) == model
    found = WatchTime(model=model, fit=FIT).score(None, store)
    assert found[2].value > 0.7
    assert "D2q" in found[0].definition


def test_equal_seeds_give_equal_scores(store):
    task = WatchTime(fit=FIT.override({"epochs": 2}))
    assert [one.value for one in task.score(None, store)] == [one.value for one in task.score(None, store)]


def test_what_cannot_be_scored_is_refused(store, tmp_path):
    rows = len(WatchTime().rows(store))
    with pytest.raises(DataError, match="one for each row"):
        WatchTime(fit=FIT).score(np.zeros((3, 2), dtype=np.float32), store)
    with pytest.raises(NumericError, match="finite numbers"):
        WatchTime(fit=FIT).score(np.full((rows, 2), np.nan, dtype=np.float32), store)
    bare = build_store(
        read_events(frame().select("user_id", "item_id", "timestamp"), time_unit="us"), tmp_path / "bare"
    )
    with pytest.raises(DataError, match="Ingest with --watch-time"):
        WatchTime().rows(bare)
    early = GlobalTimeConfig(valid_from=START - 2, test_from=START - 1)
    with pytest.raises(DataError, match="events to train on"):
        WatchTime(split=early).rows(store)


@pytest.mark.parametrize("column", ["speed", "place"])
def test_an_oracle_from_the_future_is_refused(tmp_path, column):
    told = pl.col("watch_time_ms").fill_null(0)
    one = {
        "speed": (told.cast(pl.Float64).log1p() * -1).alias("speed"),
        "place": pl.when(told > 5000).then(pl.lit("stayed")).otherwise(pl.lit("left")).alias("place"),
    }[column]
    table = frame().with_columns(one)
    if column == "place":
        table = table.with_columns(watch_time_ms=pl.when(told > 5000).then(9000).otherwise(1000))
    log = read_events(
        table,
        time_unit="us",
        watch_time="watch_time_ms",
        duration="duration_ms",
        categorical={"place": "place"},
        numeric={"speed": "speed"},
    )
    store = build_store(log, tmp_path / "store")
    task = WatchTime(fit=FitRowsConfig(epochs=1), features=("item_id", column))
    with pytest.raises(DataError, match=f"feature '{column}'"):
        task.score(None, store)
    replace(task, check_oracles=False).score(None, store)


def test_validation_that_cannot_tell_epochs_apart_does_not_choose(tmp_path):
    """Equal labels: their order is 0.5 after every epoch, and the first would stay."""
    last, end = (int(frame()["timestamp"].sort()[-n]) for n in (400, 200))
    same = pl.col("timestamp").is_between(last, end - 1)
    table = frame().with_columns(watch_time_ms=pl.when(same).then(7000).otherwise("watch_time_ms"))
    log = read_events(table, time_unit="us", watch_time="watch_time_ms", duration="duration_ms")
    store = build_store(log, tmp_path / "store")
    split = GlobalTimeConfig(valid_from=last, test_from=end)
    epochs = []
    fit = FitRowsConfig(epochs=7, patience=2, batch_rows=256)
    WatchTime(fit=fit, split=split).score(None, store, on_epoch=epochs.append)
    assert len(epochs) == 7


def test_mixing_rows_is_named(store):
    task = WatchTime(model=WatchTimeModelConfig(mixup=CMixupConfig()), fit=FitRowsConfig(epochs=1))
    assert "C-Mixup (sigma" in task.score(None, store)[0].definition


SMALL_HEADS = {
    "GenerativeRegressionConfig": {"dim": 16, "heads": 2, "layers": 1, "hidden": 16},
    "D2qConfig": {"groups": 5},
    "CreadConfig": {"bins": 8},
}


@pytest.mark.parametrize("kind", heads_of(WatchTimeConfig).values(), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("target", ["seconds", "ratio"])
def test_a_trained_head_guesses_other_rows_after_it_was_saved(store, tmp_path, kind, target):
    head = kind(**SMALL_HEADS.get(kind.__name__, {}))
    model = WatchTimeModelConfig(head=head, dim=4, hidden=(8,))
    task = WatchTime(
        model=model, fit=FitRowsConfig(epochs=1), target=target, features=("user_id", "item_id", "duration")
    )
    rows = task.rows(store)
    vectors = np.random.default_rng(0).normal(3, 2, (len(rows), 6)).astype(np.float32)
    kept = []
    found = {one.metric: one.value for one in task.score(vectors, store, on_scorer=kept.append) if not one.by}
    kept[0].save(tmp_path / "head")
    again = WatchTimeScorer.load(tmp_path / "head")
    wanted = kept[0].predict(store, rows, vectors)
    assert np.array_equal(again.predict(store, rows, vectors), wanted)
    assert again.column == {"seconds": "watch_time_s", "ratio": "watch_ratio"}[target]
    label, _ = task.labels(store, rows)
    test = rows.of("test")
    assert np.abs(wanted - label)[test].mean() == pytest.approx(found["mae"])
    some = np.random.default_rng(1).permutation(len(rows))[:50]
    frame = pl.DataFrame(
        {
            "user_id": store.users.decode(rows.user[some] + 1),
            "item_id": store.vocabulary.decode(rows.item[some]),
            "timestamp": rows.time[some],
            "duration_ms": np.asarray(store.feature("duration_ms"))[rows.place[some]],
        }
    )
    fresh = again.predict(store, new_rows(store, frame), vectors[some])
    assert np.allclose(fresh, wanted[some], rtol=1e-4, atol=1e-5)
    with pytest.raises(MismatchError, match="vectors of width 6"):
        again.predict(store, rows)


def test_durations_of_new_rows_are_their_own_or_those_of_the_item_before(store):
    last = int(np.asarray(store.times).max())
    frame = pl.DataFrame(
        {"user_id": ["u1", "u1"], "item_id": ["i3", "never"], "timestamp": [last + SECOND, last + SECOND]}
    )
    of_item = np.flatnonzero(np.asarray(store.items) == store.vocabulary.encode(pl.Series(["i3"]))[0])
    latest = of_item[np.argmax(np.asarray(store.times)[of_item])]
    wanted = [store.feature("duration_ms")[latest] / 1000, 0]
    assert durations(store, new_rows(store, frame)).tolist() == wanted
    own = frame.with_columns(duration_ms=pl.Series([7000, None], dtype=pl.Int64))
    assert durations(store, new_rows(store, own)).tolist() == [7, 0]
    gap = own.with_columns(duration_ms=pl.Series([None, 3000], dtype=pl.Int64))
    assert durations(store, new_rows(store, gap)).tolist() == [wanted[0], 3]


def test_labels_may_be_what_is_tested(tmp_path):
    """Events train, the labels of the store test; their watch times and durations are their own."""
    log = read_events(frame(), time_unit="us", watch_time="watch_time_ms", duration="duration_ms")
    rng = np.random.default_rng(5)
    labels = pl.DataFrame(
        {
            "user_id": [f"u{one}" for one in rng.integers(0, N_USERS, 300)],
            "prediction_time": START + rng.integers(0, 20, 300) * 3600 * SECOND,
            "item_id": [f"i{one}" for one in rng.integers(0, 40, 300)],
            "value": rng.random(300),
            "watch_time_ms": pl.Series(rng.integers(0, 9000, 300)).set(pl.Series(np.arange(300) < 20), None),
            "duration_ms": rng.choice([5_000, 0], 300, p=[0.9, 0.1]),
        }
    )
    store = build_store(log, tmp_path / "store", labels=labels)
    plain = WatchTime(fit=FitRowsConfig(epochs=2))
    task = replace(plain, test="labels")
    rows, events = task.rows(store), plain.rows(store)
    table = store.table("labels").filter(pl.col("watch_time_ms").is_not_null())
    test = rows.of("test")
    assert len(test) == 280
    for part in ("train", "valid"):
        own, theirs = rows.of(part), events.of(part)
        assert np.array_equal(rows.user[own], events.user[theirs])
        assert np.array_equal(rows.stop[own], events.stop[theirs])
        assert np.array_equal(task.labels(store, rows)[0][own], plain.labels(store, events)[0][theirs])
        assert np.array_equal(task.labels(store, rows)[1][own], plain.labels(store, events)[1][theirs])
    label, duration = task.labels(store, rows)
    assert label[test].tolist() == pytest.approx((table["watch_time_ms"] / 1000).to_list())
    own = table["duration_ms"].to_numpy() > 0
    assert (duration[test][own] == 5).all()
    some = rows.stop > store.offsets[rows.user]
    assert (np.take(store.times, rows.stop[some] - 1) < rows.time[some]).all()
    assert task.score(None, store)[0].n == 280
    ratio = replace(task, target="ratio")
    assert len(ratio.rows(store).of("test")) == table.filter(pl.col("duration_ms") > 0).height
    bare = build_store(log, tmp_path / "bare", labels=labels.drop("watch_time_ms"))
    with pytest.raises(DataError, match="'watch_time_ms'"):
        task.rows(bare)
    text = build_store(
        log, tmp_path / "text", labels=labels.with_columns(pl.col("duration_ms").cast(pl.String))
    )
    with pytest.raises(DataError, match="expected numbers; found values of type String"):
        task.rows(text)
