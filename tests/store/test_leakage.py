"""The leakage check: clean where a split keeps its word, and for every promise a split or a log that breaks it."""

import dataclasses
import json

import numpy as np
import polars as pl
import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from usermodel.errors import DataError
from usermodel.events.splits import (
    GlobalTimeConfig,
    LeaveLastOutConfig,
    RollingConfig,
    Split,
    UserRatioConfig,
    UserSplitConfig,
)
from usermodel.store import leakage
from usermodel.store.build import build_store
from usermodel.store.leakage import check_leakage

CONFIGS = [
    LeaveLastOutConfig(),
    LeaveLastOutConfig(k=2),
    UserRatioConfig(valid=0.2, test=0.2),
    UserSplitConfig(valid=0.3, test=0.3),
    GlobalTimeConfig(),
    RollingConfig(fold=1),
]


def make(folder, histories):
    """A store of histories: user -> (item, second) each."""
    rows = [(user, item, 1_700_000_000 + t) for user, events in histories.items() for item, t in events]
    return build_store(
        pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row"), folder / "store"
    )


@pytest.fixture
def store(tmp_path):
    """Ten users of ten events who take turns, so that every window of time holds events of each."""
    rng = np.random.default_rng(0)
    histories = {
        f"u{user}": [(f"i{rng.integers(0, 12):02d}", 10 * n + user) for n in range(10)] for user in range(10)
    }
    return make(tmp_path, histories)


def broken(report):
    return {check.name for check in report.checks if check.offending}


def first(report, name):
    return next(check for check in report.checks if check.name == name).first


def by_hand(store, config=None, **columns):
    """The leave-last-out split with some columns replaced, under the promises of ``config``."""
    split = store.split()
    return dataclasses.replace(split, config=config, **columns)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.kind)
def test_every_kind_is_clean_and_counted(store, config):
    split = store.split(config)
    report = check_leakage(store, split)
    assert report.clean
    report.require_clean("store")
    assert json.loads(json.dumps(report.facts())) == report.facts()
    names = [check.name for check in report.checks]
    assert ("users_in_one_part" in names) == config.disjoint_users
    assert names[:6] == [
        "ranges",
        "order",
        "inputs_before_targets",
        "parts_in_order",
        "no_row_twice",
        "targets_have_histories",
    ]
    promise = next(check.promise for check in report.checks if check.name == "inputs_before_targets")
    assert ("strictly earlier" in promise) == config.strict_in_time
    targets = [len(split.targets(part)[0]) for part in ("valid", "test")]
    assert [report.counts["valid_targets"], report.counts["test_targets"]] == targets
    assert next(check.checked for check in report.checks if check.name == "inputs_before_targets") == sum(
        targets
    )
    overlap = report.counts["train_events_not_before_the_first_test_target"]
    assert overlap == 0 if config.strict_in_time else overlap >= 0


@settings(max_examples=15)
@given(data=st.data())
def test_counts_equal_a_naive_loop(data, tmp_path_factory):
    lengths = data.draw(st.lists(st.integers(2, 7), min_size=2, max_size=6))
    histories = {
        f"u{user}": [(f"i{data.draw(st.integers(0, 4))}", 7 * n + user) for n in range(length)]
        for user, length in enumerate(lengths)
    }
    store = make(tmp_path_factory.mktemp("naive"), histories)
    report = check_leakage(store, store.split())
    assert report.clean
    train = {i for own in histories.values() for i, _ in (own[:-2] if len(own) > 2 else own[:-1])}
    last = [[item for item, _ in own] for own in histories.values()]
    assert report.counts["test_targets"] == len(lengths)
    assert report.counts["test_targets_never_seen_in_train"] == sum(own[-1] not in train for own in last)
    assert report.counts["test_targets_already_in_the_history"] == sum(own[-1] in own[:-1] for own in last)
    longer = [own for own in last if len(own) > 2]
    assert report.counts["valid_targets_already_in_the_history"] == sum(own[-2] in own[:-2] for own in longer)


def test_small_tiles_count_the_same(store, monkeypatch):
    whole = check_leakage(store, store.split())
    monkeypatch.setattr(leakage, "_TILE", 7)
    assert check_leakage(store, store.split()) == whole
    assert whole.counts["test_targets_already_in_the_history"] > 0


@pytest.mark.parametrize(
    "columns",
    [
        {"train_stop": 9, "valid_stop": 8},  # valid runs backwards
        {"test_stop": 11},  # reaches into the next user
        {"start": 2, "train_stop": 1},
        {"held_from": 6},  # valid begins inside train
    ],
)
def test_ranges_that_overlap_are_found(store, columns):
    changed = {name: store.offsets[:-1] + value for name, value in columns.items()}
    report = check_leakage(store, by_hand(store, **changed))
    assert broken(report) == {"ranges"}
    assert first(report, "ranges").startswith("user 'u0', event 0")
    assert report.checks[0].offending == 10
    with pytest.raises(DataError, match="found 10 of 10 that break it, first user 'u0'"):
        report.require_clean("store")


def test_a_train_range_that_takes_the_target_in_leaves_nothing_to_prove(store):
    split = by_hand(store, train_stop=store.offsets[1:], valid_stop=store.offsets[1:])
    with pytest.raises(DataError, match="expected a test target; found none"):
        check_leakage(store, split)


def test_rows_out_of_order_are_found(store):
    """A writer that lost the order: the newest event of u3 comes first."""
    times = np.array(store.times)
    times[30] = times[39] + 1
    store.__dict__["times"] = times
    report = check_leakage(store, store.split())
    assert broken(report) == {"order", "inputs_before_targets"}
    assert first(report, "order").startswith("user 'u3', event 1 of the history")
    # The validation and the test target of u3 both have an input that is later.
    assert first(report, "inputs_before_targets").startswith("user 'u3', event 8 of the history")
    assert next(c.offending for c in report.checks if c.name == "inputs_before_targets") == 2


def test_a_later_part_before_an_earlier_one_is_found(store):
    """Within one user, times that fall between the parts."""
    times = np.array(store.times)
    times[39] = times[38] - 5
    store.__dict__["times"] = times
    assert broken(check_leakage(store, store.split())) == {"order", "inputs_before_targets", "parts_in_order"}


def test_a_split_that_only_says_it_is_global_is_found(tmp_path):
    """Leave-last-out cuts, sold under the promises of a split in time: b trains after a is tested."""
    late = {"a": [("x", 0), ("y", 1), ("z", 2), ("x", 3)], "b": [("x", 9)]}
    store = make(tmp_path, late)
    assert check_leakage(store, store.split()).clean
    report = check_leakage(store, by_hand(store, config=GlobalTimeConfig()))
    assert broken(report) == {"parts_in_order"}
    check = next(one for one in report.checks if one.name == "parts_in_order")
    # The last training event is at 9 s: a's validation event at 2 s and its test event at 3 s are not after it.
    assert (check.checked, check.offending) == (5, 2)
    assert check.first == "user 'a', event 2 of the history: item 'z' at 1700000002000000"
    assert "strictly" in check.promise


def test_a_tie_breaks_a_strict_promise_and_no_other(tmp_path):
    store = make(tmp_path, {"a": [("x", 0), ("y", 5), ("z", 5)], "b": [("x", 0), ("y", 1), ("z", 9)]})
    assert check_leakage(store, store.split()).clean
    report = check_leakage(store, by_hand(store, config=GlobalTimeConfig()))
    assert "inputs_before_targets" in broken(report)
    assert first(report, "inputs_before_targets") == (
        "user 'a', event 2 of the history: item 'z' at 1700000005000000"
    )


def test_the_same_row_in_two_parts_is_found(tmp_path):
    """A log that holds a row twice, and a cut between the two."""
    store = make(tmp_path, {"a": [("x", 0), ("y", 5), ("y", 5)], "b": [("x", 0), ("y", 1), ("z", 9)]})
    report = check_leakage(store, store.split())
    assert broken(report) == {"no_row_twice"}
    assert first(report, "no_row_twice") == "user 'a', event 2 of the history: item 'y' at 1700000005000000"
    with pytest.raises(DataError, match=r"no \(user, item, time\) row in two parts; found 1 of 6"):
        report.require_clean("store")
    # Another item at that moment is no copy, and neither is a copy within one part.
    assert check_leakage(store, store.split(LeaveLastOutConfig(k=2))).clean


def test_a_copy_of_the_target_in_a_held_out_history_is_found(tmp_path):
    users = {f"u{n}": [("x", 0), ("y", 5), ("z", 7), ("z", 7)] for n in range(20)}
    store = make(tmp_path, users)
    config = UserSplitConfig(valid=0.2, test=0.2)
    report = check_leakage(store, store.split(config))
    assert broken(report) == {"no_row_twice"}
    held_out = int((config.draw(store.users.ids) < 0.4).sum())
    assert report.checks[4].offending == held_out


def test_statistics_on_a_history_that_does_not_train_are_found(store):
    """Whoever skips the beginning of a history must know that popularity counts it."""
    report = check_leakage(store, by_hand(store, start=store.offsets[:-1] + 2))
    assert broken(report) == {"statistics"}
    assert next(c.offending for c in report.checks if c.name == "statistics") == 20


def test_a_user_in_two_parts_is_found(store):
    report = check_leakage(store, by_hand(store, config=UserSplitConfig()))
    assert broken(report) == {"users_in_one_part"}
    assert next(c.offending for c in report.checks if c.name == "users_in_one_part") == 10


def test_a_target_without_a_history_is_found(store):
    """A split whose own list of targets forgets to ask for one."""

    class Careless(Split):
        def targets(self, part):
            first, stop = self.part(part)
            users = np.flatnonzero(stop > first)
            return users, first[users]

    start, stop = store.offsets[:-1], store.offsets[1:]
    split = Careless(start, start, start, stop, "cold start")
    report = check_leakage(store, split)
    assert broken(report) == {"targets_have_histories"}
    assert first(report, "targets_have_histories").startswith("user 'u0', event 0 of the history")


def test_an_order_only_store_is_checked_without_times(tmp_path):
    (tmp_path / "log.txt").write_text("a x y z\nb y z x w\n")
    from usermodel.events.readers import read_events

    store = build_store(read_events(tmp_path / "log.txt", format="sequences"), tmp_path / "store")
    report = check_leakage(store, store.split())
    assert report.clean
    assert "train_events_not_before_the_first_test_target" not in report.counts


def test_a_store_without_targets_proves_nothing(tmp_path):
    store = make(tmp_path, {"a": [("x", 0)], "b": [("y", 1)]})
    with pytest.raises(DataError, match="expected a test target; found none"):
        check_leakage(store, store.split())


def test_the_tiny_store_of_all_tests_is_clean(tmp_path):
    store = tiny.make_store(tmp_path / "store")
    assert check_leakage(store, store.split()).clean
