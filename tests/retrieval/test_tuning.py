"""Recall by score; the least effort that reaches it, whatever a clock says; what is reported is of other queries."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usermodel.ann.kinds import kind_of, kinds
from usermodel.retrieval import tuning
from usermodel.retrieval.tuning import Measured, recall, recalls, tune
from usermodel.retrieval.vector_index import VectorIndex, Wish

APPROXIMATE = sorted(set(kinds()) - {"flat"})


def vectors(n=300, dim=6, seed=0):
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


def by_hand(index, items, queries, k=10):
    """Share of the exact best of all interests together that a user gets, one user at a time, with a dictionary."""
    many = queries if queries.ndim == 3 else queries[:, None]
    shares = []
    for interests in many:
        exact = np.sort((interests @ items.T).max(axis=0))[::-1][:k]
        scores, positions = index.search(interests, k)
        best = {}
        for score, position in zip(scores.reshape(-1), positions.reshape(-1), strict=True):
            if position >= 0:
                best[int(position)] = max(best.get(int(position), -np.inf), float(score))
        last = exact[-1] - 1e-5 * np.abs(exact).max()
        shares.append(sum(score >= last for score in sorted(best.values())[-k:]) / k)
    return float(np.mean(shares))


def test_recall_counts_ties_with_the_last_as_found():
    exact = np.array([[5, 4, 4], [3, 2, 1], [0, 0, 0]], np.float32)
    found = np.array([[5, 4, 3], [3, 1, 0.5], [0, 0, -1]], np.float32)
    # By hand: 5 and one 4 of three; 3 and 1, which is the last of the best; two zeros.
    assert recalls(found, exact) == pytest.approx([2 / 3, 2 / 3, 2 / 3])
    assert recalls(exact, exact) == pytest.approx([1, 1, 1])
    assert recalls(np.full((1, 2), -np.inf, np.float32), np.ones((1, 2), np.float32)) == pytest.approx([0])


@pytest.mark.parametrize("shape", [(40, 6), (40, 3, 6)])
@pytest.mark.parametrize("kind", sorted(kinds()))
def test_recall_is_of_the_merged_list(kind, shape, monkeypatch):
    monkeypatch.setattr(tuning, "_BLOCK", 7)
    items = vectors(2000)
    queries = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    index = VectorIndex(kind_of(kind).build(items), items)
    assert recall(index, queries, 10) == pytest.approx(by_hand(index, items, queries), abs=1e-9)
    if kind == "flat":
        assert recall(index, queries, 10) == 1


def test_several_vectors_are_no_mean_over_single_ones():
    """One interest of two is far from everything: whatever an index finds for it is in no merged list."""
    items = vectors(4000)
    index = VectorIndex(kind_of("ivf-flat").build(items), items)
    index.index.set_effort({"nprobe": 3})
    one = vectors(60, seed=1)
    both = np.stack([10 * one, 0.01 * vectors(60, seed=2)], axis=1)
    single = recall(index, both.reshape(-1, 6), 10)
    merged = recall(index, both, 10)
    assert merged == pytest.approx(recall(index, one, 10), abs=1e-9)
    assert merged != pytest.approx(single, abs=1e-3)


def test_no_queries_miss_nothing():
    assert recall(VectorIndex.build(vectors()), vectors(0), 10) == 1


def halves(queries, seed=0):
    drawn = np.random.default_rng(seed).choice(len(queries), min(len(queries), 2000), replace=False)
    half = (len(drawn) + 1) // 2
    return queries[drawn[:half]], queries[drawn[half:]]


@pytest.mark.parametrize("shape", [(301, 16), (301, 2, 16)])
@pytest.mark.parametrize("kind", APPROXIMATE)
def test_the_least_effort_is_chosen_by_one_half_and_measured_on_the_other(kind, shape):
    items = vectors(3000, 16)
    users = np.random.default_rng(1).normal(size=shape).astype(np.float32) + 0.3
    index = VectorIndex.build(items, Wish(kind, recall=0.9), users)
    chose, held_out = halves(users)
    assert (index.measured.n_tuned, index.measured.n_queries) == (151, 150)
    assert index.measured.recall == pytest.approx(by_hand(index, items, held_out), abs=1e-6)
    assert (index.measured.on, index.measured.target) == ("users", 0.9)
    assert index.measured.held_out
    # Every effort before the chosen one misses the target on the half that chose, the chosen one does not.
    chosen, passed = dict(index.index.effort), []
    for effort in itertools.takewhile(lambda one: one != chosen, index.index.efforts()):
        index.index.set_effort(effort)
        passed.append(reaches(index, items, chose, 0.9))
    index.index.set_effort(chosen)
    assert not any(passed)
    assert reaches(index, items, chose, 0.9) or chosen == index.index.efforts()[-1]


def reaches(index, items, queries, target):
    shares = np.array([by_hand(index, items, one[None]) for one in queries])
    return shares.mean() - shares.std() / len(shares) ** 0.5 >= target - 1e-9


@pytest.mark.parametrize("kind", APPROXIMATE)
def test_no_clock_has_a_say(kind, monkeypatch):
    """Times that shrink by chance, or grow, change what is told and not what is chosen."""
    items, users = vectors(2000, 8), vectors(200, 8, seed=1)
    built = kind_of(kind).build(items)
    plain = tune(VectorIndex(built, items), users, 0.8, "users")
    effort = dict(built.effort)
    rng = np.random.default_rng(0)
    monkeypatch.setattr(tuning.time, "perf_counter", lambda: float(rng.random()))
    again = tune(VectorIndex(built, items), users, 0.8, "users")
    assert dict(built.effort) == effort
    assert again.facts() == plain.facts()
    assert again == plain
    assert again.latency_ms != plain.latency_ms
    assert not {"latency_ms", "queries_per_s"} & set(plain.facts())


@given(st.integers(1, 9), st.integers(0, 3))
def test_halves_share_no_query(n, seed):
    items = vectors(50, seed=seed)
    found = VectorIndex.build(items, Wish("sq8"), vectors(n, seed=9)).measured
    assert found.n_tuned + found.n_queries == (n if n > 1 else 2)
    assert found.held_out == (n > 1)


def test_what_is_not_reached_is_said():
    items = vectors(3000, 16)
    index = VectorIndex.build(items, Wish("sq8", recall=1.0), vectors(100, 16, seed=1))
    assert index.measured.reached == (index.measured.recall == 1)
    assert not Measured(0.89, 0.9, 5, 5, held_out=True, on="users").reached
    assert Measured(0.9, 0.9, 5, 5, held_out=True, on="users").reached
    assert VectorIndex.build(items, Wish("hnsw")).measured.on == "vectors"


@pytest.mark.parametrize("dim", [1, 7, 16])
def test_efforts_of_short_codes_go_by_the_work_they_are(dim):
    """Neither parameter shrinks without the other growing, and the last effort is the most thorough."""
    index = kind_of("ivf-pq").build(vectors(3000, dim))
    efforts = [tuple(one.values()) for one in index.efforts()]
    assert len(set(efforts)) == len(efforts)
    for number, (lists, many) in enumerate(efforts):
        assert not any(one <= lists and other <= many for one, other in efforts[number + 1 :])
    assert efforts[0] == (1, 4)
    assert efforts[-1] == (max(one for one, _ in efforts), 64)
