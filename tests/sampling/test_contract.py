"""What every sampler keeps, found by walking the package: a new file is tested without a line here."""

import importlib
import inspect
import json
import pkgutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import usermodel.sampling
from usermodel.events.splits import GlobalTimeConfig, LeaveLastOutConfig, Split
from usermodel.sampling.protocol import Examples, SamplerConfig

FIELDS = ("user", "start", "stop", "target_start", "target_stop", "prediction_time")


def discover():
    """Every sampler that a module of `usermodel.sampling` defines."""
    found = set()
    for info in pkgutil.iter_modules(usermodel.sampling.__path__, "usermodel.sampling."):
        module = importlib.import_module(info.name)
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if issubclass(kind, SamplerConfig) and kind is not SamplerConfig and kind.__module__ == info.name:
                found.add(kind)
    return sorted(found, key=lambda kind: kind.__qualname__)


SAMPLERS = discover()
every_sampler = pytest.mark.parametrize(
    "sampler", [kind() for kind in SAMPLERS], ids=lambda one: type(one).__name__
)


class FakeStore:
    """What samplers may ask of a store."""

    def __init__(self, histories):
        self.offsets = np.cumsum([0] + [len(history) for history in histories])
        self.times = np.array([time for history in histories for time in history], dtype=np.int64)
        self.items = np.arange(1, len(self.times) + 1, dtype=np.int32)
        self.n_users, self.n_events, self.n_items = len(histories), len(self.times), len(self.times)
        self.time_kind = "utc"

    def split(self, config):
        return config.split(self.offsets, self.times, self.time_kind)


def rng(seed=0):
    return np.random.default_rng(seed)


def columns(examples):
    return [getattr(examples, name).tolist() for name in FIELDS]


HISTORIES = st.lists(st.lists(st.integers(0, 20), max_size=12).map(sorted), min_size=1, max_size=6)
SPLITS = st.sampled_from([LeaveLastOutConfig(), GlobalTimeConfig(valid_from=10, test_from=15)])


def test_there_are_samplers_to_test():
    assert "AllPositionsConfig" in {kind.__name__ for kind in SAMPLERS}


@every_sampler
def test_the_configuration_survives_json(sampler):
    data = json.loads(json.dumps(sampler.to_dict()))
    assert SamplerConfig.from_dict(data) == sampler
    assert type(SamplerConfig.from_dict(data)) is type(sampler)


@every_sampler
def test_examples_stay_inside_the_training_part_and_before_their_prediction(sampler):
    @given(HISTORIES, SPLITS, st.integers(1, 6), st.integers(0, 99))
    def check(histories, config, max_history, seed):
        store = FakeStore(histories)
        split = store.split(config)
        examples = sampler.sample(store, split, max_history=max_history, rng=rng(seed))
        user = examples.user
        assert all(getattr(examples, name).dtype == np.int64 for name in FIELDS)
        # Nothing after train_stop, nothing of somebody else, never more than the encoder reads and one target.
        assert (examples.start >= split.start[user]).all()
        assert (examples.target_stop <= split.train_stop[user]).all()
        assert (examples.stop <= examples.target_start).all()
        assert (examples.target_start <= examples.target_stop).all()
        assert (examples.lengths >= 1).all()
        assert (examples.lengths <= max_history + 1).all()
        assert (store.times[examples.stop - 1] <= examples.prediction_time).all()

    check()


@every_sampler
def test_equal_generators_give_equal_examples(sampler, tiny_store):
    def draw(seed):
        return columns(sampler.sample(tiny_store, tiny_store.split(), max_history=2, rng=rng(seed)))

    assert draw(3) == draw(3)


@every_sampler
def test_what_comes_after_the_training_part_changes_nothing(sampler):
    """A leak test: other events in the validation and test part, the same examples."""
    one, other = FakeStore([[1, 2, 3, 4, 5, 6], [1, 2, 3, 4]]), FakeStore([[1, 2, 3, 4, 9, 19], [1, 2, 8, 9]])
    drawn = [
        sampler.sample(s, s.split(LeaveLastOutConfig()), max_history=3, rng=rng(1)) for s in (one, other)
    ]
    assert columns(drawn[0]) == columns(drawn[1])


@every_sampler
@pytest.mark.parametrize("histories", [[[]], [[1]], [[], [1], [1, 2]]])
def test_users_without_a_training_target_give_no_example(sampler, histories):
    store = FakeStore(histories)
    examples = sampler.sample(store, store.split(LeaveLastOutConfig()), max_history=3, rng=rng())
    assert len(examples) == 0


# -------------------------------------------------------------------------------------------------------------- Examples


def make(**changes):
    values = {
        "user": [0],
        "start": [0],
        "stop": [2],
        "target_start": [2],
        "target_stop": [3],
        "prediction_time": [9],
    }
    return Examples(**{name: np.array(value) for name, value in (values | changes).items()})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": [3]}, "a slice ends before it starts"),
        ({"target_start": [1]}, "a target lies inside its own history"),
    ],
)
def test_impossible_examples_cannot_be_made(changes, message):
    assert len(make()) == 1
    with pytest.raises(AssertionError, match=message):
        make(**changes)


def test_examples_can_be_picked_in_any_order(tiny_store):
    users = np.arange(4)
    examples = Examples.histories(tiny_store, users, tiny_store.offsets[1:], 3)
    picked = examples.take(np.array([2, 0, 2]))
    assert picked.user.tolist() == [2, 0, 2]
    assert columns(picked) == [[column[row] for row in (2, 0, 2)] for column in columns(examples)]


def test_histories_by_hand(tiny_store):
    # ann before her last event, bob before his first, dee after everything.
    examples = Examples.histories(tiny_store, np.array([0, 1, 3]), np.array([4, 5, 11]), 3)
    assert columns(examples) == [
        [0, 1, 3],
        [1, 5, 10],
        [4, 5, 11],
        [4, 5, 11],
        [5, 6, 11],
        [1_700_000_600_000_000, 1_700_000_100_000_000, 1_700_000_500_000_001],
    ]
    assert examples.lengths.tolist() == [3, 0, 1]


@given(HISTORIES, st.integers(1, 5), st.data())
def test_histories_are_the_last_events_before_the_target(histories, max_history, data):
    histories = [history for history in histories if history] or [[0]]
    store = FakeStore(histories)
    users = np.array(data.draw(st.lists(st.integers(0, len(histories) - 1), max_size=5)), dtype=np.int64)
    n_before = [data.draw(st.integers(0, len(histories[user]))) for user in users]
    examples = Examples.histories(
        store, users, store.offsets[users] + np.array(n_before, dtype=np.int64), max_history
    )
    for number, (user, n) in enumerate(zip(users, n_before, strict=True)):
        history = histories[user]
        seen = store.times[examples.start[number] : examples.stop[number]].tolist()
        target = store.times[examples.target_start[number] : examples.target_stop[number]].tolist()
        assert seen == history[:n][-max_history:]
        assert target == history[n : n + 1]
        assert examples.prediction_time[number] == (history[n] if n < len(history) else history[-1] + 1)


@pytest.mark.parametrize("stop", [-1, 6])
def test_a_history_never_reaches_into_another_user(tiny_store, stop):
    with pytest.raises(AssertionError, match="a history stops outside its user"):
        Examples.histories(tiny_store, np.array([0]), np.array([stop]), 3)


def test_the_base_class_samples_nothing(tiny_store):
    with pytest.raises(NotImplementedError):
        SamplerConfig().sample(tiny_store, tiny_store.split(), max_history=2, rng=rng())


def test_a_split_that_gives_everything_to_training(tiny_store):
    everything = Split(tiny_store.offsets[:-1], *[tiny_store.offsets[1:]] * 3, name="all")
    for kind in SAMPLERS:
        examples = kind().sample(tiny_store, everything, max_history=2, rng=rng())
        assert set(examples.user) == {0, 1, 2}
