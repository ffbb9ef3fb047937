"""What filters leave, against brute force with sets, for every kind of index, one vector a query or several."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usermodel.ann.kinds import kinds
from usermodel.errors import ConfigError
from usermodel.retrieval import filtering
from usermodel.retrieval.filtering import best
from usermodel.retrieval.seen import Listed
from usermodel.retrieval.vector_index import VectorIndex, Wish

KINDS = sorted(kinds())


def vectors(n=300, dim=6, seed=0):
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


def seen_of(lists):
    return Listed(
        np.cumsum([0, *map(len, lists)]), np.array([row for one in lists for row in one], dtype=np.int64)
    )


def by_hand(items, queries, k, seen, allowed):
    """(owner, rank, position) with sets and sorting."""
    out = []
    many = queries if queries.ndim == 3 else queries[:, None]
    for query, interests in enumerate(many):
        scores = (interests @ items.T).max(axis=0)
        left = [
            row for row in np.argsort(-scores, kind="stable") if allowed[row] and row not in set(seen[query])
        ]
        out += [(query, rank, int(row)) for rank, row in enumerate(left[:k], 1)]
    return out


def rows_of(found):
    return list(zip(found.owner.tolist(), found.rank.tolist(), found.position.tolist(), strict=True))


@settings(max_examples=40)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(0, 12), st.sampled_from([1, 3]), st.booleans()
)
def test_a_flat_index_is_exact_whatever_is_left_out(seed, k, n_queries, interests, filtered):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 60))
    items, queries = vectors(n, seed=seed), rng.normal(size=(n_queries, interests, 6)).astype(np.float32)
    queries = queries if interests > 1 else queries[:, 0]
    seen = [rng.integers(0, n, rng.integers(0, 2 * n)).tolist() for _ in range(n_queries)]
    allowed = rng.random(n) < 0.6 if filtered else np.ones(n, dtype=bool)
    index = VectorIndex.build(items, Wish("flat"))
    found = best(index, queries, k, seen=seen_of(seen), allowed=allowed if filtered else None)
    assert rows_of(found) == by_hand(items, queries, k, seen, allowed)


@pytest.mark.parametrize("denied", [10, 290])
@pytest.mark.parametrize("interests", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_fills_the_list_and_keeps_what_is_left_out_out(kind, interests, denied, monkeypatch):
    monkeypatch.setattr(filtering, "_RESULTS", 500)
    rng = np.random.default_rng(0)
    items, queries = vectors(), rng.normal(size=(25, interests, 6)).astype(np.float32)
    queries = queries if interests > 1 else queries[:, 0]
    seen = [rng.choice(300, rng.integers(0, 299), replace=False).tolist() for _ in range(25)]
    allowed = np.ones(300, dtype=bool)
    allowed[rng.choice(300, denied, replace=False)] = False
    index = VectorIndex.build(items, Wish(kind), vectors(200, seed=4))
    found = best(index, queries, 7, seen=seen_of(seen), allowed=allowed)
    expected = by_hand(items, queries, 7, seen, allowed)
    assert [row[:2] for row in rows_of(found)] == [row[:2] for row in expected]
    assert all(allowed[row] and row not in seen[query] for query, _, row in rows_of(found))
    share = len(set(rows_of(found)) & set(expected)) / len(expected)
    assert share > (0.7 if kind in {"flat", "sq8", "hnsw", "ivf-flat"} else 0.5)


@pytest.mark.parametrize("interests", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_lists_are_full_however_little_an_index_looks(kind, interests, monkeypatch):
    """Least effort, on purpose: nothing that may not be is found, and whoever has too few gets more, or all scored."""
    monkeypatch.setattr(filtering, "_FEW", 0)
    monkeypatch.setattr(filtering, "_SHARE", 2)
    rng = np.random.default_rng(2)
    items, queries = vectors(1000), rng.normal(size=(12, interests, 6)).astype(np.float32)
    seen = [rng.integers(0, 1000, rng.integers(0, 400)).tolist() for _ in range(12)]
    allowed = rng.random(1000) < 0.6
    index = VectorIndex.build(items, Wish(kind))
    index.index.set_effort(index.index.efforts()[0])
    found = best(index, queries, 20, seen=seen_of(seen), allowed=allowed)
    assert [row[:2] for row in rows_of(found)] == [
        (query, rank) for query in range(12) for rank in range(1, 21)
    ]
    for query in range(12):
        mine = found.owner == query
        rows = found.position[mine]
        assert len(set(rows)) == 20
        assert not set(rows) & set(seen[query])
        assert allowed[rows].all()
        assert (np.diff(found.score[mine]) <= 0).all()
        exact = (queries[query] @ items[rows].T).max(axis=0)
        # Where one of several vectors does not find a row, the score is that of another.
        assert (found.score[mine] <= exact + 1e-4).all()
        if interests == 1:
            assert found.score[mine] == pytest.approx(exact, abs=1e-4)
    if kind == "flat":
        assert rows_of(found) == by_hand(items, queries, 20, seen, allowed)


def test_an_index_that_finds_too_few_is_helped_out():
    """An inverted file that looks into one list of many has not enough for anyone."""
    items, queries = vectors(4000), vectors(5, seed=1)
    index = VectorIndex.build(items, Wish("ivf-flat"))
    index.index.set_effort({"nprobe": 1})
    assert (index.search(queries, 200)[1] < 0).any()
    found = best(index, queries, 200, seen=Listed.none(5))
    assert np.bincount(found.owner).tolist() == [200] * 5


def test_blocks_of_queries_and_of_rows_change_nothing(monkeypatch):
    items, queries = vectors(500), np.random.default_rng(1).normal(size=(30, 3, 6)).astype(np.float32)
    seen, index = seen_of([list(range(u, u + 50)) for u in range(30)]), VectorIndex.build(items, Wish("flat"))
    whole = best(index, queries, 12, seen=seen)
    monkeypatch.setattr(filtering, "_QUERIES", 7)
    monkeypatch.setattr(filtering, "_RESULTS", 300)
    small = best(index, queries, 12, seen=seen)
    assert rows_of(whole) == rows_of(small)
    assert whole.score == pytest.approx(small.score, abs=1e-5)


def test_nothing_is_left():
    index = VectorIndex.build(vectors(20), Wish("flat"))
    queries = vectors(3, seed=1)
    everything = seen_of([list(range(20))] * 3)
    assert rows_of(best(index, queries, 5, seen=everything)) == []
    assert rows_of(best(index, queries, 5, seen=Listed.none(3), allowed=np.zeros(20, dtype=bool))) == []
    assert rows_of(best(index, queries[:0], 5, seen=Listed.none(0))) == []
    big = VectorIndex.build(vectors(400), Wish("flat"))
    assert rows_of(best(big, queries, 5, seen=Listed.none(3), allowed=np.zeros(400, dtype=bool))) == []


def test_auto_goes_by_size():
    assert Wish().chosen(200_000) == "flat"
    assert Wish().chosen(200_001) == "hnsw"
    assert Wish(gpu=True).chosen(10**7) == "flat"
    assert Wish("ivf-pq").chosen(5) == "ivf-pq"
    for share in (0, 1.5):
        with pytest.raises(ConfigError, match="recall: expected a share"):
            Wish(recall=share)
    assert VectorIndex.build(vectors(), Wish()).measured is None
