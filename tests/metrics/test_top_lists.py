from itertools import pairwise, permutations, product

import numpy as np
import pytest
import torch

from usermodel.errors import NumericError
from usermodel.metrics import top_lists as module
from usermodel.metrics.top_lists import top_lists
from usermodel.sampling.protocol import Examples


def labels_of(store, max_history=50):
    return Examples.histories(store, *store.split().targets("test"), max_history)


def allowed(store, labels, excluded):
    """Candidates of each user."""
    found = []
    for user, row in zip(labels.user, labels.target_start, strict=True):
        seen = {int(item) - 1 for item in store.items[store.offsets[user] : row]}
        if excluded == "history":
            seen -= {int(store.items[row]) - 1}
        found.append([item for item in range(store.n_items) if excluded == "nothing" or item not in seen])
    return found


def lists_in_all_orders(scores, items, k):
    """Every list of the first ``k``, once for each order of all items that is sorted by score."""
    orders = permutations(items)
    return [order[:k] for order in orders if all(scores[a] >= scores[b] for a, b in pairwise(order))]


@pytest.mark.parametrize("excluded", ["history", "history-and-repeats", "nothing"])
@pytest.mark.parametrize("kind", ["distinct", "tied", "constant"])
def test_equals_the_mean_over_all_orders(make_store, table, excluded, kind):
    store = make_store([[0, 1, 2, 0], [3, 4, 1], [5, 5, 2]])
    rng = np.random.default_rng(3)
    n = store.n_items
    scores = {
        "distinct": rng.permuted(np.tile(np.arange(n), (3, 1)), axis=1) - 3,
        "tied": rng.integers(-1, 2, (3, n)),
        "constant": np.full((3, n), -4),
    }[kind].astype(float)
    values = rng.random((2, n))
    labels = labels_of(store)
    found = top_lists(table(scores), store, labels, [1, 2, 3], values, excluded=excluded)
    for k, of_k in found.items():
        lists = [
            lists_in_all_orders(scores[u], items, k)
            for u, items in enumerate(allowed(store, labels, excluded))
        ]
        means = [np.mean([values[:, list(one)].mean(1) for one in of_user], axis=0) for of_user in lists]
        np.testing.assert_allclose(of_k.means, np.array(means).T, atol=1e-12, rtol=0)
        # A list is as likely as orders lead to it; lists of users are independent.
        chances = [
            {
                frozenset(one): sum(frozenset(one) == frozenset(other) for other in of_user) / len(of_user)
                for one in of_user
            }
            for of_user in lists
        ]
        covered = sum(
            np.prod([chance for _, chance in drawn]) * len(frozenset().union(*(one for one, _ in drawn)))
            for drawn in product(*(of_user.items() for of_user in chances))
        )
        assert of_k.covered == pytest.approx(covered, abs=1e-12)
        assert of_k.length.tolist() == [k] * 3


@pytest.mark.parametrize("n_items", [40, 300, 700])
@pytest.mark.parametrize("levels", [3, 50, 10**9])
def test_equals_sorting_on_many_items_in_tiles_and_blocks(monkeypatch, make_store, table, n_items, levels):
    rng = np.random.default_rng(n_items)
    histories = [rng.integers(0, n_items, rng.integers(3, 30)).tolist() for _ in range(40)]
    store = make_store([[*row, int(n)] for row, n in zip(histories, rng.permutation(n_items), strict=False)])
    monkeypatch.setattr(module, "TILE", 7 * store.n_items)
    scores = rng.integers(0, levels, (store.n_users, store.n_items)).astype(np.float32)
    values = rng.random((1, store.n_items))
    labels = labels_of(store)
    found = top_lists(table(scores), store, labels, [1, 5, 13], values)
    for k, of_k in found.items():
        absent = np.ones(store.n_items)
        for user, items in enumerate(allowed(store, labels, "history")):
            own = scores[user, items]
            last = np.sort(own)[::-1][min(k, len(own)) - 1]
            above, level = own > last, own == last
            chance = above + level * (min(k, len(own)) - above.sum()) / level.sum()
            assert of_k.means[0, user] == pytest.approx(chance @ values[0, items] / chance.sum(), abs=1e-9)
            absent[items] *= 1 - chance
        assert of_k.covered == pytest.approx((1 - absent).sum(), abs=1e-9)


def test_a_list_ends_where_nothing_is_left(make_store, table):
    store = make_store([[0, 1, 2, 3], [4, 0, 1]])
    found = top_lists(table(np.zeros((2, 5))), store, labels_of(store), [2, 4, 9], np.arange(5.0)[None])
    # User 0 has 3 and 4 left, user 1 has 1, 2 and 3.
    assert found[2].length.tolist() == [2, 2]
    assert found[4].length.tolist() == found[9].length.tolist() == [2, 3]
    assert found[9].means[0].tolist() == [3.5, 2.0]
    assert found[9].covered == 4
    assert found[2].covered == pytest.approx(1 + 1 + 2 / 3 + 2 / 3)


def test_a_user_who_has_everything_has_an_empty_list(make_store, table):
    store = make_store([[0, 1, 0, 1, 0], [0, 1, 2]])
    found = top_lists(
        table(np.zeros((2, 2)), 1),
        store,
        labels_of(store),
        [1],
        np.ones((1, 3)),
        excluded="history-and-repeats",
    )
    assert found[1].length.tolist() == [0, 0]
    assert found[1].means.tolist() == [[0, 0]]
    assert found[1].covered == 0


def test_items_that_the_scorer_does_not_know_are_in_no_list(make_store, table):
    store = make_store([[0, 1, 4], [2, 3, 5]])
    found = top_lists(
        table(np.arange(8.0).reshape(2, 4), 2), store, labels_of(store), [3], np.arange(6.0)[None]
    )
    assert found[3].length.tolist() == [2, 2]
    assert found[3].means[0].tolist() == [2.5, 0.5]


def test_the_scores_of_the_scorer_stay_as_they_are(make_store):
    store = make_store([[0, 1, 2]])

    class Shared:
        n_items = 3
        matrix = torch.zeros(1, 3)

        def scores(self, users):
            return self.matrix

    top_lists(Shared(), store, labels_of(store), [1], np.ones((1, 3)))
    assert Shared.matrix.tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_score_that_is_not_finite_is_an_error(make_store, table, bad):
    store = make_store([[0, 1, 2], [2, 1, 0]])
    scores = np.zeros((2, 3))
    scores[1, 0] = bad
    with pytest.raises(NumericError, match="finite scores"):
        top_lists(table(scores), store, labels_of(store), [1], np.ones((1, 3)))
