"""CTR on frozen vectors: rows from impressions and events, leakage, what vectors are worth, chance."""

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.metrics import roc_auc_score

from usermodel.encoders.encode import encode
from usermodel.encoders.transformer import TransformerConfig
from usermodel.errors import (
    ConfigError,
    DataError,
    IntegrityError,
    MismatchError,
    MissingError,
    OutputExistsError,
)
from usermodel.events.readers import read_events
from usermodel.events.splits import GlobalTimeConfig, LeaveLastOutConfig, RollingConfig
from usermodel.heads.deepfm import DeepfmConfig
from usermodel.heads.din import DinConfig
from usermodel.heads.dnn import DnnConfig
from usermodel.heads.logistic_regression import LogisticRegressionConfig
from usermodel.heads.target_attention import TargetAttentionConfig
from usermodel.store.build import build_store
from usermodel.tasks.ctr import Ctr
from usermodel.tasks.ctr_scorer import CtrScorer
from usermodel.tasks.live_vectors import LiveVectors
from usermodel.tasks.oracles import refuse_oracles
from usermodel.tasks.row_columns import known_before, read_column
from usermodel.tasks.row_features import RowFeatures
from usermodel.tasks.rows import impression_rows, new_rows
from usermodel.training.fit_rows import FitRowsConfig

N_USERS, SHOWN, N_ITEMS, SECOND = 80, 40, 30, 1_000_000
START = 1_700_000_000 * SECOND
FIT = FitRowsConfig(epochs=10, batch_rows=256, learning_rate=0.01)
SMALL = DeepfmConfig(dim=4, hidden=(16,))


def tastes(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(N_USERS, 2)), rng.normal(size=(N_ITEMS, 2))


def shown(seed=0):
    """Each user is shown an item every ten minutes, and clicks by taste: ``sigmoid(2 u . i)``."""
    users, items = tastes()
    rng = np.random.default_rng(seed + 1)
    user, item = np.repeat(np.arange(N_USERS), SHOWN), rng.integers(0, N_ITEMS, N_USERS * SHOWN)
    z = 2 * (users[user] * items[item]).sum(1)
    clicked = rng.random(len(user)) < 1 / (1 + np.exp(-z))
    return pl.DataFrame(
        {
            "user_id": [f"u{one}" for one in user],
            "item_id": [f"i{one}" for one in item],
            "timestamp": START + (np.tile(np.arange(SHOWN), N_USERS) * 600 + user) * SECOND,
            "clicked": clicked,
            "place": rng.choice(["top", "side"], len(user)),
            "price": rng.normal(5, 2, len(user)),
        }
    )


def make_store(folder, table):
    """Events are the clicks; their stars are 5 for items with even numbers."""
    events = table.filter("clicked").with_columns(
        rating=pl.col("item_id").str.slice(1).cast(pl.Int64) % 2 * -3 + 5, kind=pl.col("place")
    )
    log = read_events(
        events.select("user_id", "item_id", "timestamp", "rating", "kind"),
        time_unit="us",
        rating="rating",
        event_type="kind",
    )
    items = pl.DataFrame({"item_id": [f"i{one}" for one in range(N_ITEMS)], "year": range(N_ITEMS)})
    return build_store(log, folder, impressions=table, items_table=items)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("ctr") / "store", shown())


def value(results, name):
    (found,) = (one for one in results if one.metric == name)
    return found


def test_rows_are_the_impressions_and_histories_are_strictly_earlier(store):
    rows, clicked = impression_rows(store, GlobalTimeConfig())
    table = store.table("impressions")
    assert len(rows) == table.height
    assert clicked.tolist() == table["clicked"].to_list()
    for at in range(0, len(rows), 97):
        user = rows.user[at]
        first, end = store.offsets[user], store.offsets[user + 1]
        earlier = (store.times[first:end] < rows.time[at]).sum()
        assert rows.stop[at] == first + earlier
    # A click is an event at the time of its impression, and no input of it.
    some = rows.stop > store.offsets[rows.user]
    assert (np.take(store.times, rows.stop[some] - 1) < rows.time[some]).all()


def test_parts_are_cut_at_the_moments_of_the_split(store):
    split = GlobalTimeConfig()
    rows, _ = impression_rows(store, split)
    valid_from, test_from = split.moments(np.asarray(store.times))
    assert rows.time[rows.of("train")].max() < valid_from <= rows.time[rows.of("valid")].min()
    assert rows.time[rows.of("valid")].max() < test_from <= rows.time[rows.of("test")].min()


def test_a_split_that_was_made_and_rolling_windows_cut_at_moments_too(store):
    config = GlobalTimeConfig()
    wanted, _ = impression_rows(store, config)
    made, _ = impression_rows(store, store.split(config))
    assert np.array_equal(made.part, wanted.part)
    rolling = RollingConfig(n_folds=2, window=0.2, fold=0)
    train, valid, test = rolling.moments(np.asarray(store.times))
    rows, _ = impression_rows(store, rolling)
    assert rows.time[rows.of("train")].max() < train <= rows.time[rows.of("valid")].min()
    assert rows.time[rows.of("valid")].max() < valid <= rows.time[rows.of("test")].min()
    assert rows.time.max() < test <= np.asarray(store.times).max()


def test_other_splits_put_a_row_with_the_next_event(store):
    split = store.split(LeaveLastOutConfig())
    rows, _ = impression_rows(store, LeaveLastOutConfig())
    first, stop = split.part("test")
    at = rows.of("test")
    assert ((rows.stop[at] >= first[rows.user[at]]) & (rows.stop[at] < stop[rows.user[at]])).all()
    # Rows after the last event of a user are in no part.
    assert len(rows) < store.table("impressions").height
    assert (rows.time <= np.asarray(store.times)[store.offsets[rows.user + 1] - 1]).all()


def test_one_row_a_metric(store):
    found = Ctr(model=SMALL, fit=FIT).score(None, store)
    assert [one.metric for one in found] == ["auc", "gauc", "logloss", "ece", "positive_share"]
    rows, clicked = impression_rows(store, GlobalTimeConfig())
    at = rows.of("test")
    assert {one.n for one in found} == {len(at)}
    assert value(found, "positive_share").value == pytest.approx(clicked[at].mean())
    assert all(one.low <= one.value <= one.high for one in found[:4])
    assert "users left out" in value(found, "gauc").definition
    assert "Deepfm on user_id, item_id; " in found[0].definition
    assert value(found, "auc").value > 0.7


def test_a_vector_that_knows_the_taste_helps(store):
    users, _ = tastes()
    task = Ctr(model=SMALL, fit=FIT, features=("item_id",))
    rows, _ = task.rows(store)
    numbers = np.array([int(one[1:]) for one in store.users.ids])
    vectors = users[numbers][rows.user].astype(np.float32)
    without, with_it = (value(task.score(one, store), "auc") for one in (None, vectors))
    assert with_it.low > without.high


@pytest.mark.parametrize("kind", [DinConfig, TargetAttentionConfig])
def test_histories_tell_what_the_item_alone_does_not(store, kind):
    model = kind(dim=4, hidden=(16,))
    fit = FIT.override({"epochs": 25, "batch_rows": 128, "patience": 25})
    alone = Ctr(model=SMALL, fit=fit, features=("item_id",)).score(None, store)
    found = Ctr(model=model, fit=fit, features=("item_id",)).score(None, store)
    assert value(found, "auc").value > value(alone, "auc").value + 0.1
    with pytest.raises(ConfigError, match="rows with a history"):
        Ctr(model=model, features=("user_id",)).score(None, store)


def test_histories_are_strictly_earlier_and_no_longer_than_asked(store):
    rows, _ = impression_rows(store, GlobalTimeConfig())
    features = RowFeatures(("item_id",), max_history=3).fit(store, rows)
    past = features.batch(store, rows, None).histories
    assert (past.stop.numpy() == rows.stop).all()
    lengths = (past.stop - past.start).numpy()
    assert (lengths == np.minimum(rows.stop - store.offsets[rows.user], 3)).all()
    # The code of an event is that of the item where it is shown.
    shown = features.batch(store, rows, None).codes[:, 0].numpy()
    of_item = dict(zip(rows.item.tolist(), shown.tolist(), strict=True))
    assert all(
        of_item.get(int(item), code) == code
        for item, code in zip(store.items, past.codes.tolist(), strict=True)
    )


def test_with_shuffled_labels_it_scores_at_chance(tmp_path):
    found = []
    for seed in range(5):
        table = shown()
        order = np.random.default_rng(seed).permutation(table.height)
        table = table.with_columns(pl.col("clicked").gather(order))
        found.append(Ctr(model=SMALL, fit=FIT).score(None, make_store(tmp_path / f"store{seed}", table)))
    for name in ("auc", "gauc"):
        every = [value(one, name) for one in found]
        half = np.sqrt(sum(((one.high - one.low) / 2) ** 2 for one in every)) / len(every)
        assert abs(np.mean([one.value for one in every]) - 0.5) < 1.5 * half


def test_columns_of_impressions_are_features_and_clicks_are_not(store):
    rows, _ = impression_rows(store, GlobalTimeConfig())
    features = RowFeatures(("item_id", "place", "price", "items.year", "hour")).fit(store, rows)
    shape = features.shape
    assert [name for name, _ in shape.fields] == ["item_id", "place", "hour"]
    assert shape.numbers == ("price", "items.year")
    batch = features.batch(store, rows, None)
    place = store.table("impressions")["place"].to_list()
    assert len({(name, int(code)) for name, code in zip(place, batch.codes[:, 1], strict=True)}) == 2
    with pytest.raises(DataError, match="an outcome"):
        RowFeatures(("clicked",)).fit(store, rows)


@pytest.mark.parametrize(("label", "positive"), [("rating>=4", 0), ("rating=2", 1), ("kind", None)])
def test_labels_of_events(store, label, positive):
    if positive is None:
        label = "event_type=top"
    task = Ctr(model=SMALL, fit=FIT, label=label)
    rows, clicked = task.rows(store)
    assert len(rows) == store.n_events
    if positive is not None:
        numbers = np.array([int(one[1:]) for one in store.vocabulary.ids])
        assert (clicked == (numbers[rows.item - 1] % 2 == positive)).all()
        assert value(task.score(None, store), "auc").value > 0.95
    else:
        assert (clicked == (store.feature("event_type") == store.event_types.index("top") + 1)).all()


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("stars", "COLUMN>=NUMBER"),
        ("rating>=many", "rating>=NUMBER"),
        ("event_type=buy", "one of"),
        ("watch_time_ms>=3", "Ingest with --watch-time"),
    ],
)
def test_a_label_that_says_nothing_is_refused(store, label, message):
    with pytest.raises((ConfigError, DataError), match=message):
        Ctr(label=label).rows(store)


def test_a_share_of_the_labels(store):
    task = Ctr(model=LogisticRegressionConfig(), fit=FIT, train_share=0.1)
    rows, _ = task.rows(store)
    found = task.score(None, store)
    n = round(0.1 * len(rows.of("train")))
    assert f"{n:,} training rows" in found[0].definition
    assert found[0].n == len(rows.of("test"))
    with pytest.raises(ConfigError, match="train_share"):
        Ctr(train_share=0)


@pytest.mark.parametrize("kind", ["platt", "isotonic"])
def test_calibration_is_fitted_on_the_validation_part(store, kind):
    hard = FIT.override({"learning_rate": 0.2, "epochs": 8, "patience": 8})
    raw = Ctr(model=SMALL, fit=hard).score(None, store)
    found = Ctr(model=SMALL, fit=hard, calibration=kind).score(None, store)
    assert value(found, "ece").value < value(raw, "ece").value
    assert f"calibrated: {kind} on the valid part" in found[0].definition
    if kind == "platt":
        assert value(found, "auc").value == pytest.approx(value(raw, "auc").value)


def test_equal_seeds_give_equal_scores(store):
    task = Ctr(model=SMALL, fit=FIT.override({"epochs": 2}))
    assert [one.value for one in task.score(None, store)] == [one.value for one in task.score(None, store)]


def test_what_cannot_be_scored_is_refused(store, tmp_path):
    with pytest.raises(DataError, match="one for each row"):
        Ctr().score(np.zeros((3, 2), dtype=np.float32), store)
    table = shown().with_columns(clicked=pl.lit(value=True))
    with pytest.raises(DataError, match="rows of both labels"):
        Ctr().score(None, make_store(tmp_path / "all", table))
    log = shown().select("user_id", "item_id", "timestamp")
    bare = build_store(read_events(log, time_unit="us"), tmp_path / "bare")
    with pytest.raises(DataError, match="Ingest with --impressions"):
        Ctr().rows(bare)


# -------------------------------------------------------------------------------------- labelled rows, and rows to come


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """The same impressions as labels, with a part each and a number that counts something."""
    table = shown()
    rng = np.random.default_rng(7)
    part = pl.Series(rng.choice(["train", "valid", "test", "unused"], table.height, p=[0.6, 0.2, 0.1, 0.1]))
    count = pl.Series(rng.integers(-1, 5000, table.height)).cast(pl.Float64)
    labels = table.select(
        "user_id",
        pl.col("timestamp").alias("prediction_time"),
        "item_id",
        (pl.col("clicked") * 5).cast(pl.Float64).alias("value"),
        "place",
        part.alias("part"),
        count.alias("count"),
    )
    log = read_events(table.filter("clicked").select("user_id", "item_id", "timestamp"), time_unit="us")
    return build_store(log, tmp_path_factory.mktemp("labels") / "store", labels=labels)


def test_labels_about_items_are_rows_and_a_column_may_say_their_parts(labelled):
    table = labelled.table("labels")
    task = Ctr(label="value", parts="part")
    rows, positive = task.rows(labelled)
    for part in ("train", "valid", "test"):
        own = table.filter(pl.col("part") == part)
        assert len(rows.of(part)) == own.height
        assert positive[rows.of(part)].tolist() == (own["value"] > 0).to_list()
    assert len(rows) == (table["part"] != "unused").sum()
    some = rows.stop > labelled.offsets[rows.user]
    assert (np.take(labelled.times, rows.stop[some] - 1) < rows.time[some]).all()
    _, high = Ctr(label="value>=5", parts="part").rows(labelled)
    _, none = Ctr(label="value=4", parts="part").rows(labelled)
    assert np.array_equal(high, positive)
    assert not none.any()


def test_labels_are_cut_by_a_split_in_time_too(labelled):
    rows, _ = Ctr(label="value").rows(labelled)
    valid_from, test_from = GlobalTimeConfig().moments(np.asarray(labelled.times))
    assert rows.time[rows.of("train")].max() < valid_from
    assert rows.time[rows.of("test")].min() >= test_from


def test_how_rows_were_chosen_and_what_they_say_is_no_feature(labelled):
    task = Ctr(label="value", parts="part")
    rows, _ = task.rows(labelled)
    assert known_before(labelled, rows) == ["place", "count"]
    for name in ("value", "part", "prediction_time"):
        with pytest.raises(DataError, match=f"feature '{name}'"):
            RowFeatures((name,)).fit(labelled, rows)


def test_buckets_are_those_of_the_winners(labelled):
    rows, _ = Ctr(label="value", parts="part").rows(labelled)
    found = read_column(labelled, rows, "bucket(count)")
    count = read_column(labelled, rows, "count")
    names = [int(one) for one in found.names]
    for at in range(0, len(rows), 53):
        x = count[at]
        wanted = math.floor(math.log(x) ** 2) + 2 if x > 2 else int(x)
        assert names[found.codes[at] - 1] == wanted
    with pytest.raises(DataError, match=r"without bucket\(\)"):
        read_column(labelled, rows, "bucket(place)")


@pytest.mark.parametrize("calibration", ["none", "platt", "isotonic"])
def test_a_trained_head_scores_other_rows_after_it_was_saved(store, tmp_path, calibration):
    task = Ctr(model=DinConfig(dim=4, hidden=(8,)), fit=FIT, calibration=calibration,
               features=("user_id", "item_id", "place", "price", "items.year"))  # fmt: skip
    rows, _ = task.rows(store)
    vectors = np.random.default_rng(0).normal(3, 2, (len(rows), 6)).astype(np.float32)
    scorer = task.train(vectors, store)
    scorer.save(tmp_path / "head")
    again = CtrScorer.load(tmp_path / "head")
    wanted = scorer.predict(store, rows, vectors)
    assert np.array_equal(again.predict(store, rows, vectors), wanted)
    assert 0 <= wanted.min() < wanted.max() <= 1
    # As the task scores them.
    found = value(task.score(vectors, store), "auc").value
    test = rows.of("test")
    clicked = store.table("impressions")["clicked"].to_numpy()[rows.place[test]]
    assert roc_auc_score(clicked, wanted[test]) == pytest.approx(found, abs=1e-12)
    # A few of them alone, in another order, are new rows of their own.
    some = np.random.default_rng(1).permutation(len(rows))[:99]
    frame = store.table("impressions")[rows.place[some]].select(
        "user_id", "item_id", "timestamp", "place", "price"
    )
    fresh = new_rows(store, frame)
    assert np.array_equal(fresh.stop, rows.stop[some])
    assert np.allclose(again.predict(store, fresh, vectors[some]), wanted[some], rtol=0, atol=1e-6)
    with pytest.raises(MismatchError, match="vectors of width 6"):
        again.predict(store, rows)


def test_categories_that_were_never_seen_are_unknown_when_scored(store):
    task = Ctr(model=SMALL, fit=FIT, features=("item_id", "place"))
    scorer = task.train(None, store)
    frame = store.table("impressions").select("user_id", "item_id", "timestamp", "place")[:4]
    odd = frame.with_columns(place=pl.Series(["nowhere", None, "top", "elsewhere"]))
    batch = scorer.features.batch(store, new_rows(store, odd))
    assert batch.codes[:, 1].tolist()[:2] == [0, 0]
    assert batch.codes[3, 1] == 0 != batch.codes[2, 1]
    numbers = scorer.features.batch(store, new_rows(store, frame.with_columns(place=pl.lit(1.0))))
    assert not numbers.codes[:, 1].any()
    priced = Ctr(model=SMALL, fit=FIT, features=("price",)).train(None, store)
    with pytest.raises(DataError, match="expected numbers; found categories"):
        priced.predict(store, new_rows(store, frame.with_columns(price=pl.lit("dear"))))
    with pytest.raises(DataError, match="no such column"):
        scorer.predict(store, new_rows(store, frame.drop("place")))


def test_new_rows_are_about_users_and_items_of_the_store(store):
    frame = store.table("impressions").select("user_id", "item_id", "timestamp")[:3]
    with pytest.raises(DataError, match="'stranger'"):
        new_rows(store, frame.with_columns(user_id=pl.lit("stranger")))
    with pytest.raises(DataError, match="timestamp"):
        new_rows(store, frame.drop("timestamp"))
    unknown = new_rows(store, frame.with_columns(item_id=pl.lit("new item")))
    assert unknown.item.tolist() == [0, 0, 0]
    assert len(new_rows(store, frame.clear())) == 0


def test_a_damaged_head_says_so(store, tmp_path):
    Ctr(model=SMALL, fit=FitRowsConfig(epochs=1)).train(None, store).save(tmp_path / "head")
    with pytest.raises(OutputExistsError):
        Ctr(model=SMALL, fit=FitRowsConfig(epochs=1)).train(None, store).save(tmp_path / "head")
    (tmp_path / "head" / "config.json").write_text("{}")
    with pytest.raises(IntegrityError):
        CtrScorer.load(tmp_path / "head")
    with pytest.raises(MissingError):
        CtrScorer.load(tmp_path / "nothing")


# ----------------------------------------------------------------------------------------------- what a reader once found


@pytest.mark.parametrize(
    ("label", "feature"),
    [("rating>=4", "rating"), ("mood=a", "mood"), ("mood=a", "bucket(mood)"), ("clicked", "clicked")],
)
def test_the_label_itself_is_no_feature(label, feature):
    with pytest.raises(DataError, match="the label"):
        Ctr(label=label, features=("item_id", feature))


def test_a_number_that_never_changed_in_training_stays_at_0(store):
    rows, _ = impression_rows(store, GlobalTimeConfig())
    constant = replace(rows, table=rows.table.with_columns(price=pl.lit(0.1)))
    features = RowFeatures(("price",)).fit(store, constant)
    changed = replace(rows, table=rows.table.with_columns(price=pl.lit(0.2)))
    assert abs(float(features.batch(store, changed).numbers.max())) < 1
    vectors = np.full((len(rows), 2), 0.1, dtype=np.float32)
    features = RowFeatures(("item_id",)).fit(store, rows, vectors)
    assert float(features.batch(store, rows, vectors + 0.1).vectors.abs().max()) < 1


def test_moments_of_many_equal_numbers_do_not_drift(store):
    rows, _ = impression_rows(store, GlobalTimeConfig())
    vectors = np.random.default_rng(0).normal(50, 1, (len(rows), 3)).astype(np.float32)
    mean, std = RowFeatures(()).fit(store, rows, vectors).of_vectors
    train = vectors[rows.of("train")].astype(np.float64)
    assert np.allclose(mean, train.mean(0))
    assert np.allclose(std, train.std(0), rtol=1e-5)


def test_labels_without_a_value_are_left_out(tmp_path):
    labels = shown().select(
        "user_id", "item_id", prediction_time="timestamp", value=pl.col("clicked").cast(pl.Float64)
    )
    odd = labels.with_columns(
        value=pl.when(pl.int_range(pl.len()) % 2 == 0).then(float("nan")).otherwise("value")
    )
    log = read_events(shown().select("user_id", "item_id", "timestamp"), time_unit="us")
    store = build_store(log, tmp_path / "store", labels=odd)
    rows, _ = Ctr(label="value").rows(store)
    assert len(rows) == labels.height // 2


def test_rows_that_fitted_the_calibration_are_not_scored(store):
    with pytest.raises(ConfigError, match="calibration is fitted on"):
        Ctr(model=SMALL, fit=FIT, calibration="platt").score(None, store, part="valid")


def test_no_event_after_a_row_changes_its_duration(tmp_path):
    events = pl.DataFrame(
        {"user_id": ["a"] * 4, "item_id": ["x", "y", "x", "x"], "timestamp": [START + n * SECOND for n in (0, 1, 2, 9)],
         "duration_ms": [3000, 8000, 5000, 90_000]}
    )  # fmt: skip
    table = pl.DataFrame(
        {"user_id": ["a"] * 4, "item_id": ["x", "x", "y", "x"], "timestamp": [START + n * SECOND for n in (0, 2, 5, 8)],
         "clicked": [True, False] * 2}
    )  # fmt: skip
    log = read_events(events, time_unit="us", duration="duration_ms")
    store = build_store(log, tmp_path / "store", impressions=table)
    rows = new_rows(store, table.drop("clicked"))
    found = np.exp(read_column(store, rows, "duration")) / 1000
    assert np.allclose(found, [np.nan, 3, 8, 5], equal_nan=True)


@pytest.mark.parametrize("values", [pl.Series([b"\xff"] * 2), pl.Series([1, 2]).cast(pl.Duration)])
def test_columns_that_are_neither_text_nor_numbers_are_named(store, values):
    frame = store.table("impressions").select("user_id", "item_id", "timestamp")[:2].with_columns(odd=values)
    with pytest.raises(DataError, match="feature 'odd'"):
        read_column(store, new_rows(store, frame), "odd")


def test_building_a_head_leaves_the_generator_of_the_caller_alone(store):
    torch.manual_seed(3)
    wanted = torch.rand(1)
    torch.manual_seed(3)
    Ctr(model=SMALL, fit=FitRowsConfig(epochs=1)).train(None, store)
    assert torch.equal(torch.rand(1), wanted)


@pytest.mark.parametrize("kind", ["number", "category", "reversed"])
def test_an_oracle_from_the_future_is_refused(tmp_path, kind):
    table = shown()
    rng = np.random.default_rng(0)
    oracle = {
        "number": pl.col("clicked").cast(pl.Float64) + pl.Series(rng.random(table.height)),
        "reversed": -pl.col("clicked").cast(pl.Float64),
        "category": pl.when("clicked").then(pl.lit("went on")).otherwise(pl.lit("left")),
    }
    store = make_store(tmp_path / "store", table.with_columns(then=oracle[kind]))
    task = Ctr(model=SMALL, fit=FIT, features=("item_id", "then"))
    with pytest.raises(DataError, match=r"feature 'then'.*alone tells 100.0 % of the answers"):
        task.score(None, store)
    assert value(replace(task, check_oracles=False).score(None, store), "auc").value > 0.99


def test_what_tells_much_but_not_all_is_no_oracle(tmp_path):
    table, rng = shown(), np.random.default_rng(0)
    told = pl.Series(rng.random(table.height) < 0.95)
    good = table.with_columns(hint=pl.when(told).then("clicked").otherwise(pl.lit(False)).cast(pl.String))
    store = make_store(tmp_path / "store", good)
    assert value(Ctr(model=SMALL, fit=FIT, features=("hint",)).score(None, store), "auc").value > 0.9


# -------------------------------------------------------------------------------------- encoders that learn with the head


@pytest.fixture(scope="module")
def encoded(store):
    """A small encoder that knows nothing, rows, and its vectors."""
    torch.manual_seed(0)
    encoder = TransformerConfig(dim=8, hidden=16, layers=1, heads=2, max_history=10, dropout=0.0).build(
        store.n_items
    )
    rows, _ = impression_rows(store, GlobalTimeConfig())
    return encoder, encode(encoder, store, rows.examples(store, 10))


def test_vectors_that_learn_begin_as_they_were(store, encoded):
    encoder, vectors = encoded
    rows, _ = impression_rows(store, GlobalTimeConfig())
    features = RowFeatures(("item_id",)).fit(store, rows, vectors)
    live = LiveVectors(encoder, store, rows, features).eval()
    at = torch.from_numpy(np.random.default_rng(0).permutation(len(rows))[:200])
    wanted = features.batch(store, rows, vectors).take(at)
    found = live.take(features.batch(store, rows, vectors), at)
    torch.testing.assert_close(found.vectors, wanted.vectors, atol=1e-4, rtol=1e-4)
    assert torch.equal(found.codes, wanted.codes)
    assert np.allclose(live.vectors(), vectors, atol=1e-6)


def test_an_encoder_that_learns_with_the_head_beats_one_that_does_not(store, encoded):
    """It knew nothing of the items; clicks tell it. The encoder that was given is left as it was."""
    encoder, vectors = encoded
    before = {name: one.clone() for name, one in encoder.state_dict().items()}
    head = DnnConfig(dim=4, hidden=(16,))
    task = Ctr(model=head, fit=FIT.override({"epochs": 12, "patience": 12}), features=("item_id",))
    frozen = task.score(vectors, store, encoder=encoder)
    task = replace(task, fine_tune=True)
    tuned = task.score(vectors, store, encoder=encoder)
    assert value(tuned, "auc").value > value(frozen, "auc").value
    assert "the encoder learned with the head" in tuned[0].definition
    assert all(torch.equal(one, before[name]) for name, one in encoder.state_dict().items())
    again = task.score(vectors, store, encoder=encoder)
    assert [one.value for one in again] == [one.value for one in tuned]


def test_an_encoder_needs_its_first_vectors(store, encoded):
    task = Ctr(model=SMALL, fit=FIT, fine_tune=True)
    with pytest.raises(DataError, match="one for each row"):
        task.score(None, store, encoder=encoded[0])
    with pytest.raises(ConfigError, match="the encoder of the vectors"):
        task.score(encoded[1], store)


# ------------------------------------------------------------------------------------------- what another reader once found


def test_columns_come_back_in_other_types_from_other_tools(store):
    """True and False of pandas, whole numbers where text was learned, and columns with nothing in them."""
    rows, _ = impression_rows(store, GlobalTimeConfig())
    numbers = np.arange(len(rows)) % 3
    table = rows.table.with_columns(flag=pl.Series(numbers > 0), zone=pl.Series(numbers).cast(pl.String))
    learned = replace(rows, table=table)
    features = RowFeatures(("flag", "zone", "price")).fit(store, learned)
    wanted = features.batch(store, learned)
    other = table.with_columns(
        flag=pl.Series(["True" if one else "False" for one in table["flag"]]), zone=pl.Series(numbers)
    )
    for zone in (pl.Int64, pl.Float64):
        found = features.batch(store, replace(rows, table=other.with_columns(pl.col("zone").cast(zone))))
        assert torch.equal(found.codes, wanted.codes)
    written = other.with_columns(zone=pl.Series([f"{one}.0" for one in numbers]))
    assert torch.equal(features.batch(store, replace(rows, table=written)).codes, wanted.codes)
    empty = table.with_columns(flag=None, zone=None, price=None)
    found = features.batch(store, replace(rows, table=empty))
    assert not found.codes.any()
    assert not found.numbers.any()
    text = table.with_columns(price=pl.lit(None).cast(pl.String))
    assert not features.batch(store, replace(rows, table=text)).numbers.any()


def test_numbers_far_off_stay_finite(store):
    rows, _ = impression_rows(store, GlobalTimeConfig())
    features = RowFeatures(("price",)).fit(store, rows)
    far = replace(rows, table=rows.table.with_columns(price=pl.lit(1e300)))
    assert torch.isfinite(features.batch(store, far).numbers).all()


def test_few_positives_are_told_by_chance_and_refuse_nothing(tmp_path):
    table = shown().with_columns(clicked=pl.int_range(pl.len()) % 1000 == 3)
    many = table.with_columns(
        pl.Series(f"n{k}", np.random.default_rng(k).random(table.height)) for k in range(40)
    )
    events = shown().select("user_id", "item_id", "timestamp")
    store = build_store(read_events(events, time_unit="us"), tmp_path / "store", impressions=many)
    rows, clicked = impression_rows(store, GlobalTimeConfig())
    features = RowFeatures([f"n{k}" for k in range(40)]).fit(store, rows)
    refuse_oracles(features.shape, features.batch(store, rows), rows.of("train"), clicked.astype(float))


def test_a_head_on_an_encoder_that_learned_is_not_kept(store, encoded):
    encoder, vectors = encoded
    task = Ctr(model=SMALL, fit=FIT, fine_tune=True)
    with pytest.raises(ConfigError, match="a head that is not kept"):
        task.train(vectors, store)
    with pytest.raises(ConfigError, match="a head that is not kept"):
        task.score(vectors, store, encoder=encoder, on_scorer=print)


def test_spaces_around_a_label_say_nothing(store):
    assert len(Ctr(label=" clicked ").rows(store)[0]) == len(Ctr().rows(store)[0])


def test_the_prediction_of_a_row_is_made_at_its_time(tmp_path):
    """Not at the time of the user's next event, which a click is."""
    events = pl.DataFrame({"user_id": ["a"] * 4, "item_id": list("xyxy"), "timestamp": [0, 10, 20, 30]})
    shown = pl.DataFrame(
        {
            "user_id": ["a"] * 3,
            "item_id": list("yxy"),
            "timestamp": [5, 12, 20],
            "clicked": [False, False, True],
        }
    ).with_columns((pl.col("timestamp") + 1_700_000_000) * 1_000_000)
    log = read_events(events.with_columns(pl.col("timestamp") + 1_700_000_000))
    store = build_store(log, tmp_path / "store", impressions=shown)
    rows, _ = Ctr(split=GlobalTimeConfig(valid_from=START + 13 * SECOND, test_from=START + 19 * SECOND)).rows(
        store
    )
    asked = rows.examples(store, 10)
    assert asked.prediction_time.tolist() == rows.time.tolist()
    assert asked.prediction_time.tolist() == shown["timestamp"].to_list()
    assert asked.stop.tolist() == [1, 2, 2]
