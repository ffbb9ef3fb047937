"""Lists of several vectors merged, against all scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usermodel.retrieval.interests import merged, top


def searched(items):
    def search(queries, k):
        scores = queries @ items.T
        return top(scores, np.broadcast_to(np.arange(len(items)), scores.shape), min(k, len(items)))

    return search


@given(
    st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 4), st.integers(0, 5), st.integers(1, 40)
)
def test_a_row_counts_by_the_nearest_vector_and_once(seed, n, interests, m, k):
    rng = np.random.default_rng(seed)
    items = rng.normal(size=(n, 3)).astype(np.float32)
    queries = rng.normal(size=(m, interests, 3)).astype(np.float32)
    scores, positions = merged(searched(items), queries, k)
    exact = np.einsum("mid,nd->min", queries, items).max(axis=1)
    assert scores == pytest.approx(-np.sort(-exact, axis=1)[:, :k], abs=1e-5)
    for row, mine in enumerate(positions):
        assert len(set(mine.tolist())) == min(k, n)
        assert scores[row] == pytest.approx(exact[row, mine], abs=1e-5)


def test_what_nobody_found_stays_away():
    def search(queries, k):
        return np.array([[2, 1, -3e38], [3, -3e38, -3e38]], np.float32), np.array([[4, 7, -1], [4, -1, -1]])

    scores, positions = merged(search, np.zeros((1, 2, 5), np.float32), 3)
    assert positions.tolist() == [[4, 7, -1]]
    assert scores.tolist() == [[3, 1, -np.inf]]
