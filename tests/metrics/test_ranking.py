from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from usermodel.errors import ConfigError
from usermodel.metrics.ranking import Ranks, definition

NAMES = ["hit@1", "hit@2", "hit@3", "hit@10", "ndcg@1", "ndcg@2", "ndcg@5", "ndcg@10", "mrr"]


def ranks_of(scores: np.ndarray, target: int) -> Ranks:
    higher = np.array([(scores > scores[target]).sum()])
    equal = np.array([(scores == scores[target]).sum() - 1])
    return Ranks(higher, equal, np.array([len(scores)]))


def gain(name: str, rank: int) -> float:
    kind, _, k = name.partition("@")
    if kind == "mrr":
        return 1 / rank
    return 0.0 if rank > int(k) else 1.0 if kind == "hit" else float(1 / np.log2(rank + 1))


def over_all_orders(name: str, scores: np.ndarray, target: int) -> float:
    """The mean over every order of the items that is sorted by score."""
    orders = [order for order in permutations(range(len(scores))) if all(np.diff(scores[list(order)]) <= 0)]
    return float(np.mean([gain(name, order.index(target) + 1) for order in orders]))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "scores", [[1, 1, 1, 1, 1], [3, 2, 2, 2, 1, 1], [-1, -2, -2, -5, -5, -5], [0, 1, 2, 3, 4]]
)
def test_ties_are_the_mean_over_all_orders(name, scores):
    scores = np.array(scores, dtype=float)
    for target in range(len(scores)):
        found = ranks_of(scores, target).metric(name)
        assert found == pytest.approx(over_all_orders(name, scores, target), abs=1e-12)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(-4, 4), min_size=2, max_size=40), st.data(), st.integers(1, 12))
def test_ndcg_equals_scikit_learn_with_its_tie_averaging(scores, data, k):
    scores = np.array(scores, dtype=float)
    target = data.draw(st.integers(0, len(scores) - 1))
    relevance = np.zeros((1, len(scores)))
    relevance[0, target] = 1
    assert ranks_of(scores, target).ndcg(k)[0] == pytest.approx(
        ndcg_score(relevance, scores[None], k=k), abs=1e-12
    )


@pytest.mark.parametrize("n", [1, 2, 7, 100, 12_101])
def test_a_constant_scorer_scores_at_chance(n):
    ranks = ranks_of(np.zeros(n), 0)
    for k in (1, 5, 10):
        assert ranks.hit(k)[0] == pytest.approx(min(k, n) / n, abs=1e-12)
        assert ranks.ndcg(k)[0] == pytest.approx(
            sum(gain(f"ndcg@{k}", r) for r in range(1, n + 1)) / n, abs=1e-12
        )
    assert ranks.mrr()[0] == pytest.approx(sum(1 / r for r in range(1, n + 1)) / n, abs=1e-12)


def test_many_users_at_once_equal_one_at_a_time():
    rng = np.random.default_rng(0)
    higher, equal = rng.integers(0, 50, 200), rng.integers(0, 20, 200)
    candidates = higher + equal + rng.integers(1, 100, 200)
    together = Ranks(higher, equal, candidates)
    for name in NAMES:
        alone = [
            Ranks(higher[i : i + 1], equal[i : i + 1], candidates[i : i + 1]).metric(name)[0]
            for i in range(200)
        ]
        np.testing.assert_allclose(together.metric(name), alone, atol=1e-12, rtol=0)


def test_no_users():
    nothing = np.zeros(0, dtype=np.int64)
    ranks = Ranks(nothing, nothing, nothing)
    assert all(ranks.metric(name).shape == (0,) for name in NAMES)


@pytest.mark.parametrize(
    "name", ["recall@10", "hit", "hit@", "hit@0", "hit@-1", "ndcg@ten", "NDCG@10", "mrr@10", "", "hit@10 "]
)
def test_an_unknown_metric_is_refused_and_not_taken_for_another(name):
    ranks = ranks_of(np.arange(4.0), 0)
    with pytest.raises(ConfigError, match="expected hit@K, ndcg@K or mrr"):
        ranks.metric(name)
    with pytest.raises(ConfigError):
        definition(name)


def test_definitions_name_mask_and_ties():
    for name in NAMES:
        text = definition(name)
        assert "whole history" in text
        assert "ties" in text
    assert "recall@7" in definition("hit@7")
    assert definition("hit@7") != definition("ndcg@7") != definition("mrr")


def test_counts_that_cannot_be_are_refused():
    one = np.array([1])
    with pytest.raises(AssertionError, match="candidates"):
        Ranks(one, one, one)
    with pytest.raises(AssertionError, match="below zero"):
        Ranks(one, -one, 5 * one)
