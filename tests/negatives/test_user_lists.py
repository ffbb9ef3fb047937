import numpy as np
import pytest
import torch
from scipy import stats

from usermodel.negatives.user_lists import UserLists

N_ITEMS = 30


@pytest.fixture
def lists():
    """Lists of 0 to 20 items, from pairs in any order and with repetitions; as sets too."""
    rng = np.random.default_rng(0)
    sizes = [0, 1, 2, 3, 7, 8, 20, 0]
    sets = [set(rng.choice(N_ITEMS, size, replace=False) + 1) for size in sizes]
    pairs = [(user, item) for user, items in enumerate(sets) for item in items] * 2
    user, item = np.array([pairs[row] for row in rng.permutation(len(pairs))]).T
    return UserLists.of(user, item, len(sets)), sets


def test_looking_up_agrees_with_sets(lists):
    found, sets = lists
    every = torch.arange(1, N_ITEMS + 2).repeat(len(sets), 1)
    inside = found.contains(torch.arange(len(sets)), every)
    assert inside.tolist() == [[item in one for item in every[0].tolist()] for one in sets]


def test_all_items_of_some_users(lists):
    found, sets = lists
    user = torch.tensor([4, 0, 6, 4])
    wanted = [[item in sets[number] for item in range(1, N_ITEMS + 1)] for number in user.tolist()]
    assert found.among(user, N_ITEMS).tolist() == wanted
    assert not UserLists.empty(3, 4).among(torch.arange(3), N_ITEMS).any()


def test_checkpoints_hold_only_lists_that_are_learned(lists):
    assert not lists[0].state_dict()
    assert set(UserLists.empty(3, 4).state_dict()) == {"items", "start", "count"}


def test_no_item_at_all_is_in_no_list():
    nothing = UserLists.of(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), 3)
    ids = torch.arange(1, 5).repeat(3, 1)
    assert not nothing.contains(torch.arange(3), ids).any()
    assert not UserLists.empty(3, 4).contains(torch.arange(3), ids).any()


@pytest.mark.parametrize("uniform", [0.25, 1.0])
def test_draws_and_probabilities_are_those_of_the_mixture(lists, uniform):
    found, sets = lists
    options = {"n_items": N_ITEMS, "uniform": uniform, "generator": torch.Generator().manual_seed(0)}
    drawn = found.mixed(torch.arange(len(sets)), 30_000, log_q=True, **options)
    for row, own in enumerate(sets):
        share = uniform if own else 1.0
        q = np.full(N_ITEMS + 1, share / N_ITEMS)
        q[sorted(own)] += (1 - share) / max(len(own), 1)
        ids = drawn.ids[row].numpy()
        np.testing.assert_allclose(drawn.log_q[row].numpy(), np.log(q[ids]), rtol=1e-6)
        counts = np.bincount(ids, minlength=N_ITEMS + 1)[1:]
        assert stats.chisquare(counts, q[1:] * len(ids)).pvalue > 1e-3


def test_probabilities_may_be_left_out(lists):
    found, _ = lists
    options = {"n_items": N_ITEMS, "uniform": 0.5, "generator": None}
    assert found.mixed(torch.tensor([3]), 4, log_q=False, **options).log_q is None
