"""The laws by which targets are drawn, against probabilities written down one by one."""

import numpy as np
import pytest
from scipy import stats

from tests.sampling.test_contract import FakeStore, rng
from usermodel.errors import ConfigError
from usermodel.events.splits import LeaveLastOutConfig
from usermodel.sampling.item_uniform import ItemUniformConfig
from usermodel.sampling.recent_positives import RecentPositivesConfig
from usermodel.sampling.user_uniform import UserUniformConfig

#: Two events of each user are held out, of the third only one, because the first always stays.
LENGTHS = (8, 4, 2, 23)


def make_store(lengths=LENGTHS):
    store = FakeStore([list(range(n)) for n in lengths])
    return store, store.split(LeaveLastOutConfig())


def require_law(counts, probabilities):
    """Chi-square; nothing where the probability is nothing."""
    counts, probabilities = np.asarray(counts), np.asarray(probabilities, dtype=float)
    assert not counts[probabilities == 0].any()
    some = probabilities > 0
    expected = probabilities[some] / probabilities.sum() * counts.sum()
    assert expected.min() > 5
    if len(expected) == 1:
        return
    assert stats.chisquare(counts[some], expected).pvalue > 1e-3


IMPORTANCE = {
    "exponential": lambda k, n: 0.8 ** (n - 1 - k),
    "linear": lambda k, n: k,
    "power": lambda k, n: k**2,
}


@pytest.mark.parametrize(
    ("changes", "weight"),
    [
        *(({"importance": name}, weight) for name, weight in IMPORTANCE.items()),
        ({"alpha": 1.0}, lambda k, n: 1),
        ({"alpha": 0.7}, lambda k, n: 0.7 ** (n - 1 - k)),
        ({"importance": "power", "power": 0.5}, lambda k, n: k**0.5),
    ],
)
def test_recent_targets_are_drawn_by_their_importance(changes, weight):
    store, split = make_store((8, 4, 2, 16))
    found = RecentPositivesConfig(draws=20_000, **changes).sample(store, split, max_history=5, rng=rng())
    target = found.stop - 1
    for user, n in ((0, 6), (1, 2), (3, 14)):
        places = (target - split.start[user])[found.user == user]
        assert len(places) == 20_000
        # By hand: the first event is no target.
        require_law(np.bincount(places, minlength=n), [0] + [weight(k, n) for k in range(1, n)])
    assert not (found.user == 2).any()


def test_long_histories_neither_overflow_nor_leave_their_user():
    store, split = make_store((5_002, 3, 5_002))
    for config in (
        RecentPositivesConfig(draws=50),
        RecentPositivesConfig(importance="power", power=9.0, draws=50),
    ):
        found = config.sample(store, split, max_history=50, rng=rng())
        assert (found.lengths == 51).all()
        assert (found.stop <= split.train_stop[found.user]).all()
        assert (split.train_stop[found.user] - found.stop).mean() < 1_000


@pytest.mark.parametrize("n_examples", [None, 1, 2, 7, 3_000])
def test_users_take_turns(n_examples):
    store, split = make_store()
    for seed in range(5):
        found = UserUniformConfig(n_examples=n_examples).sample(store, split, max_history=5, rng=rng(seed))
        assert len(found) == (n_examples or 3)
        counts = np.bincount(found.user, minlength=4)[[0, 1, 3]]
        assert counts.max() - counts.min() <= 1


def test_whose_turn_comes_once_more_and_which_target_it_is_are_uniform():
    store, split = make_store()
    drawn = [
        UserUniformConfig(n_examples=1).sample(store, split, max_history=5, rng=rng(n)).user
        for n in range(600)
    ]
    require_law(np.bincount(np.concatenate(drawn), minlength=4), [1, 1, 0, 1])
    found = UserUniformConfig(n_examples=60_000).sample(store, split, max_history=5, rng=rng())
    for user, n in ((0, 6), (1, 2), (3, 21)):
        places = (found.stop - 1 - split.start[user])[found.user == user]
        require_law(np.bincount(places, minlength=n), [0] + [1] * (n - 1))


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_items_are_drawn_by_a_power_of_their_count_and_their_targets_evenly(power):
    store, split = make_store((14, 14))
    # Training targets, 11 a user: item 1 three times, 2 once, 3 four, 4 fourteen times; 5 comes first and 6 at the end only.
    one = [5, 1, 3, 4, 4, 4, 4, 4, 4, 4, 3, 2, 6, 6]
    two = [5, 1, 1, 3, 3, 4, 4, 4, 4, 4, 4, 4, 6, 6]
    store.items = np.array(one + two, dtype=np.int32)
    found = ItemUniformConfig(power=power, n_examples=40_000).sample(store, split, max_history=5, rng=rng())
    target = found.stop - 1
    counts = {1: 3, 2: 1, 3: 4, 4: 14}
    drawn = np.bincount(store.items[target], minlength=7)
    require_law(drawn, [0] + [counts.get(item, 0) and counts[item] ** power for item in range(1, 7)])
    for item in (1, 3, 4):
        rows = np.flatnonzero((store.items == item) & (np.arange(28) % 14 > 0) & (np.arange(28) % 14 < 12))
        require_law(np.bincount(target[store.items[target] == item], minlength=28)[rows], [1] * len(rows))
    assert len(ItemUniformConfig().sample(store, split, max_history=5, rng=rng())) == 22


@pytest.mark.parametrize(
    "sampler",
    [RecentPositivesConfig(draws=9), UserUniformConfig(n_examples=50), ItemUniformConfig()],
    ids=lambda one: type(one).__name__,
)
def test_slices_end_with_their_target_after_the_latest_events(sampler):
    store, split = make_store()
    found = sampler.sample(store, split, max_history=4, rng=rng())
    first = split.start[found.user]
    assert (found.stop - 1 > first).all()
    assert (found.start == np.maximum(first, found.stop - 1 - 4)).all()
    assert (found.target_start == found.target_stop).all()
    assert (found.prediction_time == store.times[found.stop - 1] + 1).all()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"importance": "linear", "alpha": 0.5},
            "alpha only with importance=exponential, got importance=linear",
        ),
        ({"power": 2.0}, "power only with importance=power, got importance=exponential"),
    ],
)
def test_options_without_an_effect_are_refused(changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        RecentPositivesConfig().override(changes)
