"""Propensities by hand, from the training part alone."""

import numpy as np
import polars as pl
import pytest

from usermodel.errors import ConfigError
from usermodel.events.readers import read_events
from usermodel.store.build import build_store
from usermodel.store.propensity import Propensity


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    # Training parts: u1: a a a b, u2: a b, u3: a. The last two events of each are held out, d among them only.
    histories = {"u1": "aaabdd", "u2": "abdc", "u3": "acd"}
    rows = [(user, item, step) for user, items in histories.items() for step, item in enumerate(items)]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    return build_store(read_events(frame, time_unit="order"), tmp_path_factory.mktemp("store") / "store")


def test_by_hand(store):
    items = {name: index for index, name in enumerate(store.vocabulary.ids, start=1)}
    assert store.item_counts(store.split().train_stop)[[items[name] for name in "abcd"]].tolist() == [
        5,
        2,
        0,
        0,
    ]
    found = Propensity.fit(store, store.split())
    users, index = np.zeros(4, np.int64), np.array([items[name] for name in "abcd"])
    assert found.of(users, index) == pytest.approx([1.0, (2 / 5) ** 0.5, (1 / 5) ** 0.5, (1 / 5) ** 0.5])
    assert found.of(users + 2, index) == pytest.approx(found.of(users, index))
    assert found.fitted_on == store.split().fitted_on


def test_power_user_factor_and_floor(store):
    found = Propensity.fit(store, store.split(), power=1.0, user_power=0.5, floor=0.1)
    b = {name: index for index, name in enumerate(store.vocabulary.ids, start=1)}["b"]
    wanted = [2 / 5, 2 / 5 * (2 / 4) ** 0.5, 2 / 5 * (1 / 4) ** 0.5]
    assert found.of(np.arange(3), np.full(3, b)) == pytest.approx(wanted)
    floored = Propensity.fit(store, store.split(), power=1.0, user_power=0.5, floor=0.25)
    assert floored.of(np.arange(3), np.full(3, b)) == pytest.approx([*wanted[:2], 0.25])


@pytest.mark.parametrize("options", [{"power": -1.0}, {"user_power": -0.5}, {"floor": 1.5}, {"floor": -0.1}])
def test_impossible_options_are_named(store, options):
    with pytest.raises(ConfigError, match=f"propensity.{next(iter(options))}: expected a number from 0"):
        Propensity.fit(store, store.split(), **options)
