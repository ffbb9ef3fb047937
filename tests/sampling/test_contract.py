"""What every sampler keeps, found by walking the package: a new file is tested without a line here."""

import importlib
import inspect
import json
import pkgutil

import labelled
import numpy as np
import polars as pl
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
    """What samplers may ask of a store. Every user has a class and has chosen two things, the second at time 10."""

    path = "fake"

    def __init__(self, histories, sampler=None):
        if sampler is not None and sampler.draws_labels:
            # There must be two classes, whoever else is there.
            histories = [[], [], *histories]
        self.offsets = np.cumsum([0] + [len(history) for history in histories])
        self.times = np.array([time for history in histories for time in history], dtype=np.int64)
        self.items = np.arange(1, len(self.times) + 1, dtype=np.int32)
        self.n_users, self.n_events, self.n_items = len(histories), len(self.times), len(self.times)
        self.time_kind = "utc"

    def table(self, name):
        user = np.arange(self.n_users)
        users = pl.DataFrame({"user_row": user, "user_id": user.astype(str), "label": user % 2})
        if name == "users":
            return users
        rows = [(u, f"t{(u + k) % 5}", 1.0, 10 if k else 99) for u in user.tolist() for k in range(2)]
        schema = ["user_row", "target", "value", "prediction_time"]
        return pl.DataFrame(rows, schema=schema, orient="row")

    def split(self, config):
        return config.split(self.offsets, self.times, self.time_kind)


def rng(seed=0):
    return np.random.default_rng(seed)


def columns(examples):
    label = [] if examples.label is None else [examples.label.tolist()]
    return [getattr(examples, name).tolist() for name in FIELDS] + label


@pytest.fixture(scope="session")
def labelled_store(tmp_path_factory):
    return labelled.make_store(tmp_path_factory.mktemp("labelled") / "store")


HISTORIES = st.lists(st.lists(st.integers(0, 20), max_size=12).map(sorted), min_size=1, max_size=6)
SPLITS = st.sampled_from([LeaveLastOutConfig(), GlobalTimeConfig(valid_from=10, test_from=15)])


def test_there_are_samplers_to_test():
    found = {kind.__name__ for kind in SAMPLERS}
    assert found >= {"AllPositionsConfig", "LabelledUsersConfig", "LabelledChoicesConfig"}


@every_sampler
def test_the_configuration_survives_json(sampler):
    data = json.loads(json.dumps(sampler.to_dict()))
    assert SamplerConfig.from_dict(data) == sampler
    assert type(SamplerConfig.from_dict(data)) is type(sampler)


@every_sampler
def test_examples_stay_inside_the_training_part_and_before_their_prediction(sampler):
    @given(HISTORIES, SPLITS, st.integers(1, 6), st.integers(0, 99))
    def check(histories, config, max_history, seed):
        store = FakeStore(histories, sampler)
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
        assert (examples.label is not None) == sampler.draws_labels
        if examples.label is not None:
            assert examples.label.shape[0] == len(examples)
            assert ((examples.label >= 0) & (examples.label < len(sampler.answers(store)))).all()

    check()


@every_sampler
def test_equal_generators_give_equal_examples(sampler, tiny_store, labelled_store):
    store = labelled_store if sampler.draws_labels else tiny_store

    def draw(seed):
        return columns(sampler.sample(store, store.split(), max_history=2, rng=rng(seed)))

    assert draw(3) == draw(3)


@every_sampler
def test_what_comes_after_the_training_part_changes_nothing(sampler):
    """A leak test: other events in the validation and test part, the same examples."""
    one = FakeStore([[1, 2, 3, 4, 5, 6], [1, 2, 3, 4]], sampler)
    other = FakeStore([[1, 2, 3, 4, 9, 19], [1, 2, 8, 9]], sampler)
    drawn = [
        sampler.sample(s, s.split(LeaveLastOutConfig()), max_history=3, rng=rng(1)) for s in (one, other)
    ]
    assert columns(drawn[0]) == columns(drawn[1])


@every_sampler
@pytest.mark.parametrize("histories", [[[]], [[1]], [[], [1], [1, 2]]])
def test_users_without_a_training_target_give_no_example(sampler, histories):
    store = FakeStore(histories, sampler)
    if sampler.draws_labels:
        # Their question is about users and not about the next event: one event is a history.
        histories = [history[:-2] for history in histories]
        store = FakeStore(histories, sampler)
    examples = sampler.sample(store, store.split(LeaveLastOutConfig()), max_history=3, rng=rng())
    assert len(examples) == 0


@pytest.mark.parametrize(
    "sampler",
    [kind() for kind in SAMPLERS if kind().draws_labels],
    ids=lambda one: type(one).__name__,
)
def test_held_out_labels_are_no_training_labels_and_read_the_same_part_of_a_history(sampler, labelled_store):
    store, split = labelled_store, labelled_store.split()
    trained = sampler.sample(store, split, max_history=4, rng=rng())
    n_answers, seen = len(sampler.answers(store)), pairs(trained)
    for part in ("valid", "test"):
        found = sampler.held_out(store, split, part, 4)
        assert len(found)
        assert (found.stop <= split.train_stop[found.user]).all()
        assert ((found.lengths >= 1) & (found.lengths <= 4)).all()
        assert ((found.label[:, 0] >= 0) & (found.label < n_answers).all(1)).all()
        assert (found.label >= -1).all()
        assert not pairs(found) & seen
        seen |= pairs(found)
        assert columns(found) == columns(sampler.held_out(store, split, part, 4))
        assert found.fingerprint() == sampler.held_out(store, split, part, 4).fingerprint()
        assert found.fingerprint() != found.take(np.arange(1, len(found))).fingerprint()


def pairs(examples):
    return set(zip(examples.user.tolist(), examples.label[:, 0].tolist(), strict=True))


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
    with pytest.raises(NotImplementedError):
        SamplerConfig().answers(tiny_store)
    with pytest.raises(NotImplementedError):
        SamplerConfig().held_out(tiny_store, tiny_store.split(), "test", 2)


def test_a_split_that_gives_everything_to_training(tiny_store):
    everything = Split(tiny_store.offsets[:-1], *[tiny_store.offsets[1:]] * 3, name="all")
    for kind in SAMPLERS:
        if kind().draws_labels:
            continue
        examples = kind().sample(tiny_store, everything, max_history=2, rng=rng())
        assert set(examples.user) == {0, 1, 2}
