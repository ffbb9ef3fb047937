"""Splits: train before valid before test, a history for every target, no matter how rows and ids were arranged."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usermodel.errors import ConfigError, DataError
from usermodel.events.splits import GlobalTimeConfig, LeaveLastOutConfig
from usermodel.training.recipe import DataConfig

#: Times of each user, in order; ties and users without events included.
HISTORIES = st.lists(st.lists(st.integers(0, 30), max_size=8).map(sorted), min_size=1, max_size=8)
PARTS = ("valid", "test")


def arrays(histories):
    offsets = np.cumsum([0] + [len(history) for history in histories])
    return offsets, np.array([time for history in histories for time in history], dtype=np.int64)


def leave_last_out(histories):
    return LeaveLastOutConfig().split(*arrays(histories), "utc")


def global_time(histories, valid_from, test_from):
    return GlobalTimeConfig(valid_from=valid_from, test_from=test_from).split(*arrays(histories), "utc")


def ranges(split, histories):
    """Per user: the number of events in train, valid and test."""
    return [
        (int(a - start), int(b - a), int(c - b))
        for start, a, b, c in zip(
            split.start, split.train_stop, split.valid_stop, split.test_stop, strict=True
        )
    ]


def check_partition(split, histories):
    offsets, _ = arrays(histories)
    assert split.start.tolist() == offsets[:-1].tolist()
    assert split.test_stop.tolist() == offsets[1:].tolist()
    for column in (split.start, split.train_stop, split.valid_stop, split.test_stop):
        assert column.dtype == np.int64
    assert (np.diff([split.start, split.train_stop, split.valid_stop, split.test_stop], axis=0) >= 0).all()
    for part in PARTS:
        users, rows = split.targets(part)
        # A target is the first event of its part and comes after at least one other event of its user.
        assert (rows > split.start[users]).all()
        first, stop = (
            (split.train_stop, split.valid_stop) if part == "valid" else (split.valid_stop, split.test_stop)
        )
        assert (rows == first[users]).all()
        assert (rows < stop[users]).all()


@given(HISTORIES)
def test_leave_last_out(histories):
    split = leave_last_out(histories)
    check_partition(split, histories)
    sizes = {0: (0, 0, 0), 1: (1, 0, 0), 2: (1, 0, 1)}
    assert ranges(split, histories) == [sizes.get(len(h), (len(h) - 2, 1, 1)) for h in histories]
    assert split.targets("test")[0].tolist() == [u for u, h in enumerate(histories) if len(h) >= 2]
    assert split.targets("valid")[0].tolist() == [u for u, h in enumerate(histories) if len(h) >= 3]
    assert split.name == "leave-last-out"


def test_leave_last_out_by_hand():
    split = leave_last_out([[1, 2, 3, 4, 5], [1], [1, 2], [1, 2, 3]])
    assert split.train_stop.tolist() == [3, 6, 7, 9]
    assert split.valid_stop.tolist() == [4, 6, 7, 10]
    assert [column.tolist() for column in split.targets("valid")] == [[0, 3], [3, 9]]
    assert [column.tolist() for column in split.targets("test")] == [[0, 2, 3], [4, 7, 10]]


@given(HISTORIES, st.integers(-1, 31), st.integers(1, 10))
def test_global_time(histories, valid_from, width):
    test_from = valid_from + width
    split = global_time(histories, valid_from, test_from)
    check_partition(split, histories)
    assert ranges(split, histories) == [
        (
            sum(t < valid_from for t in h),
            sum(valid_from <= t < test_from for t in h),
            sum(t >= test_from for t in h),
        )
        for h in histories
    ]
    _, times = arrays(histories)
    for part, cut in zip(PARTS, (valid_from, test_from), strict=True):
        users, rows = split.targets(part)
        for user, row in zip(users, rows, strict=True):
            history = times[split.start[user] : row]
            # Strictly earlier, and nothing known at the moment of the cut comes from after it.
            assert (history < cut).all()
            assert times[row] >= cut
    assert split.name == f"global-time {valid_from} {test_from}"


@given(HISTORIES, st.randoms(use_true_random=False))
def test_other_names_for_users_change_nothing_for_any_of_them(histories, random):
    order = list(range(len(histories)))
    random.shuffle(order)
    moved = [histories[user] for user in order]
    for cut in (leave_last_out, lambda h: global_time(h, 10, 20)):
        before = ranges(cut(histories), histories)
        assert ranges(cut(moved), moved) == [before[user] for user in order]


@given(HISTORIES, st.integers(0, 7))
def test_other_users_change_nothing(histories, number):
    user = number % len(histories)
    alone = [histories[user]]
    for cut in (leave_last_out, lambda h: global_time(h, 10, 20)):
        assert ranges(cut(alone), alone)[0] == ranges(cut(histories), histories)[user]


def test_the_default_cuts_are_quantiles_of_all_event_times():
    histories = [[10, 20, 30, 40, 50], [15, 25, 35, 45, 55]]
    split = GlobalTimeConfig().split(*arrays(histories), "utc")
    assert split.name == "global-time 50 55"
    assert ranges(split, histories) == [(4, 1, 0), (4, 0, 1)]
    half = GlobalTimeConfig(valid_quantile=0.2, test_quantile=0.5).split(*arrays(histories), "utc")
    assert half.name == "global-time 20 35"


def test_one_event_users_never_have_a_target():
    histories = [[1], [25], [50]]
    for split in (leave_last_out(histories), global_time(histories, 20, 40)):
        for part in PARTS:
            assert split.targets(part)[0].tolist() == []


def test_an_order_is_no_time():
    offsets, times = arrays([[0, 1, 2]])
    with pytest.raises(DataError) as caught:
        GlobalTimeConfig().split(offsets, times, "order")
    assert str(caught.value) == (
        "data.split: expected a store with times; found an order-only store. "
        "Use leave-last-out, or ingest a log with times."
    )
    assert LeaveLastOutConfig().split(offsets, times, "order").valid_stop.tolist() == [2]


@pytest.mark.parametrize("cuts", [(5, 5), (7, 5)])
def test_cuts_must_be_in_order(cuts):
    with pytest.raises(
        DataError, match=f"data.split: expected valid_from before test_from; found {cuts[0]} and {cuts[1]}"
    ):
        global_time([[1, 9]], *cuts)


def test_a_log_of_one_moment_cannot_be_cut_in_time():
    with pytest.raises(DataError, match="expected valid_from before test_from; found 3 and 3"):
        GlobalTimeConfig().split(*arrays([[3, 3, 3], [3]]), "utc")


@pytest.mark.parametrize(
    ("value", "split"),
    [
        ("global-time", GlobalTimeConfig()),
        ("leave-last-out", LeaveLastOutConfig()),
        ({"kind": "global-time", "valid_from": 4}, GlobalTimeConfig(valid_from=4)),
    ],
)
def test_a_split_can_be_named_in_one_word(value, split):
    assert DataConfig.from_dict({"split": value}).split == split


@pytest.mark.parametrize("quantile", [0.0, 1.0, -0.1])
def test_quantiles_lie_inside(quantile):
    with pytest.raises(ConfigError, match=r"^split\.valid_quantile: expected"):
        DataConfig().override({"split": "global-time", "split.valid_quantile": quantile})
