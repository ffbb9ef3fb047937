"""AllPositions: every training event but the first is a target exactly once an epoch."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from usermodel.events.splits import Split
from usermodel.sampling.all_positions import AllPositionsConfig


class Times:
    """A store of so many events."""

    def __init__(self, n_events):
        self.times = np.arange(n_events, dtype=np.int64) * 10


def sample(n_train, n_later, max_history, seed=0):
    """Examples over users with so many training events and so many later ones."""
    n_train, n_later = np.array(n_train, dtype=np.int64), np.array(n_later, dtype=np.int64)
    start = np.cumsum(n_train + n_later) - n_train - n_later
    split = Split(start, start + n_train, start + n_train, start + n_train + n_later, "by hand")
    store = Times(int((n_train + n_later).sum()))
    rng = np.random.default_rng(seed)
    return AllPositionsConfig().sample(store, split, max_history=max_history, rng=rng), split, store


@given(
    st.lists(st.tuples(st.integers(0, 25), st.integers(0, 3)), min_size=1, max_size=8),
    st.integers(1, 10),
    st.integers(0, 2**32),
)
def test_every_training_event_but_the_first_is_a_target_exactly_once(users, max_history, seed):
    n_train, n_later = zip(*users, strict=True)
    examples, split, store = sample(n_train, n_later, max_history, seed)
    targets, inputs = Counter(), Counter()
    for start, stop in zip(examples.start, examples.stop, strict=True):
        targets.update(range(start + 1, stop))
        inputs.update(range(start, stop - 1))
    expected = [(first + 1, stop) for first, stop in zip(split.start, split.train_stop, strict=True)]
    assert targets == Counter(row for first, stop in expected for row in range(first, stop))
    assert inputs == Counter(row - 1 for first, stop in expected for row in range(first, stop))
    # Windows obey max_history: at most so many inputs, and one more event as the last target.
    assert (examples.lengths >= 2).all()
    assert (examples.lengths <= max_history + 1).all()
    assert (examples.target_start == examples.stop).all()
    assert (examples.target_stop == examples.stop).all()
    assert (examples.prediction_time == store.times[examples.stop - 1] + 1).all()


@given(st.integers(2, 60), st.integers(1, 10), st.integers(0, 2**32))
def test_only_the_first_and_the_last_window_of_a_long_history_are_short(n_train, max_history, seed):
    examples, _, _ = sample([n_train], [0], max_history, seed)
    inputs = examples.lengths - 1
    assert (inputs[1:-1] == max_history).all()
    if n_train - 1 <= max_history:
        assert inputs.tolist() == [n_train - 1]
    # Neighbours share one event: the last target of one is the first input of the next.
    assert (examples.start[1:] == examples.stop[:-1] - 1).all()


def test_windows_by_hand():
    examples, _, _ = sample([4, 1, 0, 3], [2, 1, 0, 2], max_history=5)
    assert examples.user.tolist() == [0, 3]
    assert examples.start.tolist() == [0, 8]
    assert examples.stop.tolist() == [4, 11]


def test_borders_move_from_epoch_to_epoch_and_reach_every_place():
    heads = Counter()
    for seed in range(400):
        examples, _, _ = sample([20], [0], max_history=5, seed=seed)
        heads[int(examples.lengths[0]) - 1] += 1
    assert set(heads) == {1, 2, 3, 4, 5}
    assert min(heads.values()) > 400 / 5 / 2


def test_a_user_draws_the_same_whether_others_are_short_or_long():
    one, _, _ = sample([20, 3], [0, 0], max_history=5, seed=4)
    other, _, _ = sample([20, 30], [0, 0], max_history=5, seed=4)
    assert one.stop[one.user == 0].tolist() == other.stop[other.user == 0].tolist()
