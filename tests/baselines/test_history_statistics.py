"""Statistics of histories: by hand, and nothing after the prediction."""

import numpy as np
import polars as pl
import pytest

from usermodel.baselines.history_statistics import DAY, HistoryStatistics
from usermodel.events.readers import read_events
from usermodel.sampling.protocol import Examples
from usermodel.store.build import build_store

SATURDAY_NOON = 2 * DAY + DAY // 2


def make(folder, frame, **options):
    return build_store(read_events(frame, **options), folder)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    frame = pl.DataFrame(
        {
            "user_id": ["a", "a", "a", "b", "b"],
            "item_id": ["x", "y", "x", "x", "z"],
            # Saturday noon, an hour later, Monday noon; Sunday midnight twice.
            "timestamp": [0, DAY // 24, 2 * DAY, DAY // 2, DAY // 2],
            "event_type": ["view", "like", "view", "view", "view"],
            "watch_time_ms": [999, None, 99, 9, None],
            "rating": [4.0, None, 2.0, None, None],
        }
    ).with_columns(pl.col("timestamp") + SATURDAY_NOON + 7 * 1100 * DAY)
    names = {"event_type": "event_type", "watch_time": "watch_time_ms", "rating": "rating"}
    return make(tmp_path_factory.mktemp("statistics") / "store", frame, time_unit="us", **names)


def rows(store, stop):
    return Examples.histories(store, np.arange(store.n_users), np.array(stop), store.n_events)


def _five(one):
    return [one.user, one.start, one.stop, one.target_start, one.target_stop]


def test_numbers_by_hand(store):
    found = HistoryStatistics(np.log([1.0, 3.0, 1.0, 1.0]), {"mean_rating": 0.7}).frame(
        store, rows(store, [3, 3])
    )
    a, empty = found.rows(named=True)
    popularity, types = [np.log(3), 0, np.log(3)], store.event_types
    assert a["log_events"] == pytest.approx(np.log(4))
    assert a["popularity"] == pytest.approx(np.mean(popularity))
    assert a["popularity_spread"] == pytest.approx(np.std(popularity))
    assert a["repeats"] == pytest.approx(1 / 3)
    assert {one: a[f"share_{one}"] for one in types} == pytest.approx({"view": 2 / 3, "like": 1 / 3})
    assert a["mean_watch_time_ms"] == pytest.approx((np.arcsinh(999) + np.arcsinh(99)) / 2)
    assert a["mean_rating"] == pytest.approx((np.arcsinh(4) + np.arcsinh(2)) / 2)
    assert a["weekend"] == pytest.approx(2 / 3)
    assert a["hour_cos"] == pytest.approx((-1 + np.cos(np.pi * 13 / 12) - 1) / 3)
    assert a["log_days"] == pytest.approx(np.log1p(2))
    # Of a history without events nothing is known but what was fitted.
    assert empty["log_events"] == empty["log_days"] == empty["log_days_since"] == 0
    assert empty["mean_rating"] == 0.7
    assert empty["popularity_spread"] == 0


def test_what_is_missing_is_the_mean_of_the_training_part(store):
    fitted = HistoryStatistics.fit(store, store.split())
    # Trained on: the first event of a, and the first of b.
    assert fitted.means["mean_rating"] == pytest.approx(np.arcsinh(4))
    assert fitted.means["share_like"] == 0
    empty = fitted.frame(store, rows(store, [0, 3])).row(0, named=True)
    assert empty["mean_rating"] == pytest.approx(np.arcsinh(4))
    assert empty["mean_watch_time_ms"] == pytest.approx((np.arcsinh(999) + np.arcsinh(9)) / 2)


def test_only_the_training_part_is_counted(store):
    split = store.split()
    assert split.train_stop.tolist() == [1, 4]
    counted = HistoryStatistics.fit(store, split)
    assert store.vocabulary.ids.to_list() == ["x", "y", "z"]
    assert np.exp(counted.log_counts).round(6).tolist() == [1, 2, 1, 1]
    assert counted.fitted_on == split.fitted_on


def log(late):
    """Five events of two users; the last of each is another one where ``late``."""
    return pl.DataFrame(
        {
            "user_id": ["a", "a", "a", "b", "b", "b"],
            "item_id": ["x", "y", "y" if late else "x", "x", "y", "x" if late else "y"],
            "timestamp": [0, 60, 9000 if late else 120, 30, 90, 95 if late else 150],
            "rating": [1.0, 2.0, 5.0 if late else 3.0, 1.0, None, 2.0 if late else None],
            "event_type": ["view", "like", "like" if late else "view", "view", "view", "view"],
        }
    ).with_columns(pl.col("timestamp") + 1_700_000_000)


def test_what_comes_after_is_not_read(tmp_path):
    names = {"rating": "rating", "event_type": "event_type"}
    found = []
    for late in (False, True):
        store = make(tmp_path / f"{late}", log(late), **names)
        asked = Examples.histories(store, np.arange(2), np.array([2, 5]), store.n_events)
        fixed = Examples(*_five(asked), np.full(2, 1_700_000_200_000_000))
        found.append(HistoryStatistics.fit(store, store.split()).frame(store, fixed))
    # To rounding: sums run on from one user to the next.
    assert found[0].to_numpy() == pytest.approx(found[1].to_numpy(), abs=1e-12)
    # And a prediction that is made later moves one number only.
    later = Examples(*_five(asked), fixed.prediction_time + DAY)
    moved = HistoryStatistics.fit(store, store.split()).frame(store, later)
    assert [name for name in moved.columns if moved[name].to_list() != found[1][name].to_list()] == [
        "log_days_since"
    ]


def test_names_of_own_columns_meet_no_others_and_no_value_drowns_the_rest(tmp_path):
    frame = pl.DataFrame(
        {
            "user_id": ["a", "a", "b"],
            "item_id": ["x", "y", "x"],
            "timestamp": [1_700_000_000, 1_700_000_060, 1_700_000_030],
            "p": [3.4e38, -3.4e38, 7.0],
        }
    )
    store = build_store(read_events(frame, numeric={"popularity": "p"}), tmp_path / "store")
    found = HistoryStatistics.fit(store, store.split()).frame(store, rows(store, [2, 3]))
    assert found["mean_popularity"].to_list() == pytest.approx([0.0, np.arcsinh(7.0)], abs=1e-6)
    assert found["popularity"].max() < 1


def test_an_order_has_no_times_and_one_user_is_enough(tmp_path):
    frame = pl.DataFrame({"user_id": ["a"] * 4, "item_id": list("xyxz"), "timestamp": range(4)})
    store = make(tmp_path / "store", frame, time_unit="order")
    statistics = HistoryStatistics.fit(store, store.split())
    found = statistics.frame(store, rows(store, [4]))
    assert found.columns == ["log_events", "popularity", "repeats", "popularity_spread"]
    vectors = statistics.vectors(store, rows(store, [4]))
    assert vectors.dtype == np.float32
    assert vectors.tolist() == [pytest.approx(row) for row in found.rows()]
