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


def rows(store, stop, ahead=0):
    users = np.arange(store.n_users)
    found = Examples.histories(store, users, np.array(stop), store.n_events)
    return found if not ahead else Examples(*[*_five(found), found.prediction_time + ahead])


def _five(one):
    return [one.user, one.start, one.stop, one.target_start, one.target_stop]


def test_numbers_by_hand(store):
    found = HistoryStatistics(np.log([1.0, 3.0, 1.0, 1.0])).frame(store, rows(store, [3, 3]))
    a, empty = found.rows(named=True)
    popularity, types = [np.log(3), 0, np.log(3)], store.event_types
    assert a["log_events"] == pytest.approx(np.log(4))
    assert a["popularity"] == pytest.approx(np.mean(popularity))
    assert a["popularity_spread"] == pytest.approx(np.std(popularity))
    assert a["repeats"] == pytest.approx(1 / 3)
    assert {one: a[f"share_of_{one}"] for one in types} == pytest.approx({"view": 2 / 3, "like": 1 / 3})
    assert a["watch_time_ms"] == pytest.approx((np.log(1000) + np.log(100)) / 2)
    assert a["rating"] == pytest.approx(3)
    assert a["weekend"] == pytest.approx(2 / 3)
    assert a["hour_cos"] == pytest.approx((-1 + np.cos(np.pi * 13 / 12) - 1) / 3)
    assert a["log_days"] == pytest.approx(np.log1p(2))
    # Nothing is known of a history without events: means of all events, and no length.
    assert empty["log_events"] == empty["log_days"] == empty["log_days_since"] == 0
    assert empty["rating"] == pytest.approx(3)
    assert empty["repeats"] == pytest.approx(1 / 5)


def test_only_the_training_part_is_counted(store):
    split = store.split()
    assert split.train_stop.tolist() == [1, 4]
    counted = HistoryStatistics.fit(store, split)
    assert store.vocabulary.ids.to_list() == ["x", "y", "z"]
    assert np.exp(counted.log_counts).round(6).tolist() == [1, 2, 1, 1]
    assert counted.fitted_on == split.fitted_on


def test_of_what_comes_after_only_the_time_of_the_prediction_is_read(store):
    statistics = HistoryStatistics.fit(store, store.split())
    early, late = (statistics.frame(store, rows(store, [2, 4], ahead)) for ahead in (0, 3 * DAY))
    moved = [name for name in early.columns if not np.allclose(early[name], late[name])]
    assert moved == ["log_days_since"]
    # b's two events are at one time, and a's next one comes two days after the first.
    assert early["log_days_since"].to_list() == pytest.approx([np.log1p(2 - 1 / 24), 0])


def test_an_order_has_no_times_and_one_user_is_enough(tmp_path):
    frame = pl.DataFrame({"user_id": ["a"] * 4, "item_id": list("xyxz"), "timestamp": range(4)})
    store = make(tmp_path / "store", frame, time_unit="order")
    statistics = HistoryStatistics.fit(store, store.split())
    found = statistics.frame(store, rows(store, [4]))
    assert found.columns == ["log_events", "popularity", "popularity_spread", "repeats"]
    vectors = statistics.vectors(store, rows(store, [4]))
    assert vectors.dtype == np.float32
    assert vectors.tolist() == [pytest.approx(row) for row in found.rows()]
