from itertools import permutations

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score, roc_auc_score

from usermodel.errors import ConfigError
from usermodel.metrics.ranking import Ranks

KS = (1, 2, 3, 5, 10)
NAMES = [f"{kind}@{k}" for kind in ("hit", "recall", "ndcg", "map", "mrr") for k in KS] + ["mrr", "auc"]


def ranks_of(scores: np.ndarray, target: int) -> Ranks:
    higher = np.array([(scores > scores[target]).sum()])
    equal = np.array([(scores == scores[target]).sum() - 1])
    return Ranks(higher, equal, np.array([len(scores)]))


def gain(name: str, rank: int, n: int = 0) -> float:
    kind, _, k = name.partition("@")
    if kind == "auc":
        return (n - rank) / (n - 1)
    inside = not k or rank <= int(k)
    return inside * {"hit": 1.0, "recall": 1.0, "ndcg": float(1 / np.log2(rank + 1))}.get(kind, 1 / rank)


def over_all_orders(name: str, scores: np.ndarray, target: int) -> float:
    """The mean over every order of the items that is sorted by score."""
    orders = [order for order in permutations(range(len(scores))) if all(np.diff(scores[list(order)]) <= 0)]
    return float(np.mean([gain(name, order.index(target) + 1, len(scores)) for order in orders]))


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
        assert ranks.mrr(k)[0] == pytest.approx(sum(1 / r for r in range(1, min(k, n) + 1)) / n, abs=1e-12)
    assert ranks.auc()[0] == pytest.approx(0.5 * (n > 1), abs=1e-12)
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


@pytest.mark.parametrize("kind", ["hit", "ndcg", "mrr"])
def test_a_cut_off_behind_the_last_candidate_costs_nothing(kind):
    ranks = Ranks(np.array([0, 4]), np.array([2, 0]), np.array([3, 5]))
    # Of so many gains there is no array.
    assert getattr(ranks, kind)(10**18).tolist() == getattr(ranks, kind)(5).tolist()


def test_no_users():
    nothing = np.zeros(0, dtype=np.int64)
    ranks = Ranks(nothing, nothing, nothing)
    assert all(ranks.metric(name).shape == (0,) for name in NAMES)


@pytest.mark.parametrize("name", ["coverage@10", "novelty@5", "arp@1", "popularity_bias@3"])
def test_metrics_of_lists_do_not_come_from_ranks(name):
    with pytest.raises(ConfigError, match="expected a metric of ranks"):
        ranks_of(np.arange(4.0), 0).metric(name)


def as_run(scores: np.ndarray) -> dict[str, float]:
    return {f"d{i:02d}": float(score) for i, score in enumerate(scores)}


@pytest.mark.parametrize("seed", range(4))
def test_equals_ir_measures(seed):
    """trec_eval orders ties by name, so the reference is its mean over all orders of the tied items."""
    rng = np.random.default_rng(seed)
    measures = {
        "hit@3": "Success@3",
        "recall@3": "R@3",
        "ndcg@3": "nDCG@3",
        "ndcg@10": "nDCG@10",
        "map@10": "AP@10",
        "mrr": "RR",
    }
    parsed = {name: ir_measures.parse_measure(text) for name, text in measures.items()}
    for n in (4, 7):
        scores = rng.integers(0, 4, n).astype(float)
        scores[rng.permutation(n)[: n - 4]] = 10 + np.arange(n - 4)  # at most four are level with each other
        target = int(rng.integers(n))
        tied = np.flatnonzero(scores == scores[target])
        values: dict[str, list[float]] = {name: [] for name in measures}
        for order in permutations(range(len(tied))):
            apart = scores.copy()
            apart[tied] += 0.01 * np.array(order)
            found = ir_measures.calc_aggregate(
                list(parsed.values()), {"u": {f"d{target:02d}": 1}}, {"u": as_run(apart)}
            )
            for name, measure in parsed.items():
                values[name].append(found[measure])
        for name in measures:
            wanted = float(np.mean(values[name]))
            assert ranks_of(scores, target).metric(name)[0] == pytest.approx(wanted, abs=1e-9), name


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(-4, 4), min_size=2, max_size=40), st.data())
def test_auc_equals_scikit_learn(scores, data):
    scores = np.array(scores, dtype=float)
    target = data.draw(st.integers(0, len(scores) - 1))
    wanted = roc_auc_score(np.arange(len(scores)) == target, scores)
    assert ranks_of(scores, target).auc()[0] == pytest.approx(wanted, abs=1e-12)


def test_auc_of_a_target_without_rivals_is_zero_and_not_nan():
    assert ranks_of(np.zeros(1), 0).auc().tolist() == [0.0]


def test_with_one_target_hit_is_recall_and_map_is_mrr():
    rng = np.random.default_rng(0)
    for _ in range(20):
        ranks = ranks_of(rng.integers(0, 5, 12).astype(float), 3)
        for k in KS:
            assert ranks.metric(f"hit@{k}") == ranks.metric(f"recall@{k}")
            assert ranks.metric(f"map@{k}") == ranks.metric(f"mrr@{k}")


def test_counts_that_cannot_be_are_refused():
    one = np.array([1])
    with pytest.raises(AssertionError, match="candidates"):
        Ranks(one, one, one)
    with pytest.raises(AssertionError, match="below zero"):
        Ranks(one, -one, 5 * one)
