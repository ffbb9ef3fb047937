"""Tiles of scores: the same ranks whatever the tiles and threads, and counts of any width."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics.test_next_item_ranks import NAMES, Table, examples_of, naive, store_of

from usermodel.embedding_table import DotScorer
from usermodel.errors import DataError, NumericError
from usermodel.metrics import next_item_ranks
from usermodel.metrics.next_item_ranks import rank_targets
from usermodel.metrics.score_tiles import ScoreTiles


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    rng = np.random.default_rng(0)
    histories = [rng.integers(0, 25, rng.integers(1, 40)).tolist() for _ in range(60)]
    return store_of(tmp_path_factory.mktemp("tiles") / "store", histories)


def dot_scorer(store, examples, n_unknown=0, seed=0):
    """Whole numbers: exact in any order of summation, and full of ties."""
    rng = torch.Generator().manual_seed(seed)
    users = torch.randint(-2, 3, (len(examples), 3), generator=rng).float()
    items = torch.randint(-2, 3, (store.n_items - n_unknown, 3), generator=rng).float()
    return DotScorer(users, items, rows=examples.user, n_unknown=n_unknown)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 70), st.integers(1, 4), st.integers(1, 4), st.integers(0, 6), st.integers(0, 99))
def test_ranks_do_not_depend_on_tiles_pieces_or_threads(store, tile, stripe, threads, n_unknown, seed):
    examples = examples_of(store)
    scorer = dot_scorer(store, examples, n_unknown, seed)
    wanted = rank_targets(scorer, store, examples)
    matrix = torch.full((store.n_users, store.n_items), torch.finfo(torch.float32).min)
    matrix[torch.from_numpy(examples.user), : scorer.n_items] = scorer.users @ scorer.items.T
    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(next_item_ranks, "TILE", tile * store.n_items)
        patch.setattr(next_item_ranks, "STRIPE", stripe)
        try:
            torch.set_num_threads(threads)
            found = rank_targets(scorer, store, examples)
        finally:
            torch.set_num_threads(before)
    for name in ("higher", "equal", "candidates"):
        assert np.array_equal(getattr(found, name), getattr(wanted, name))
    for name in NAMES:
        np.testing.assert_allclose(
            found.metric(name), naive(matrix.numpy(), store, examples, name), atol=1e-12, rtol=0
        )


@pytest.mark.parametrize("columns", [1, 7, 8, 9, 255, 2039, 2040, 2041, 5000])
def test_a_count_of_every_column_and_of_none(columns):
    """255 words of eight flags is where a byte is full."""
    tiles = ScoreTiles(Table(torch.zeros(3, columns)), 3)
    scores, wanted = np.zeros((3, columns), dtype=np.float32), np.array([[-1.0], [0.0], [1.0]], np.float32)
    assert tiles.count(np.greater, scores, wanted).tolist() == [columns, 0, 0]
    assert tiles.count(np.equal, scores, wanted).tolist() == [0, columns, 0]
    assert tiles.count(np.greater, scores[:1], wanted[2:]).tolist() == [0]
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(3, columns)).astype(np.float32)
    assert tiles.count(np.greater, scores, wanted).tolist() == (scores > wanted).sum(1).tolist()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_scores_are_compared_in_their_own_type(store, dtype):
    """Neighbours in float64 are level in float32; bfloat16 has no counterpart in numpy."""
    examples, step = examples_of(store), 2.0**-40 if dtype == torch.float64 else 2.0**-7
    order = torch.rand(store.n_users, store.n_items, generator=torch.Generator().manual_seed(0)).argsort(1)
    scores = (1 + order.double() * step).to(dtype)
    ranks = rank_targets(Table(scores), store, examples)
    assert not ranks.equal.any()
    for name in NAMES:
        wanted = naive(scores.double().numpy(), store, examples, name)
        np.testing.assert_allclose(ranks.metric(name), wanted, atol=1e-12, rtol=0)


def test_finite_scores_whose_sum_is_not(store):
    scores = torch.full((store.n_users, store.n_items), 3e38)
    ranks = rank_targets(Table(scores), store, examples_of(store))
    assert np.array_equal(ranks.equal, ranks.candidates - 1)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
def test_a_product_that_is_not_finite_names_the_user(store, bad):
    """Also where the vectors are finite and only their product is too large."""
    examples = examples_of(store)
    users, items = torch.ones(len(examples), 2), torch.full((store.n_items, 2), 1e30)
    users[17:] = bad
    with pytest.raises(NumericError, match=f"'u{examples.user[17]:03d}'"):
        rank_targets(DotScorer(users, items, rows=examples.user), store, examples)


def test_a_user_without_a_vector_is_named(store):
    examples = examples_of(store)
    short = DotScorer(torch.ones(2, 2), torch.ones(store.n_items, 2), rows=examples.user[:2])
    with pytest.raises(DataError, match=f"found user {examples.user[2]}"):
        rank_targets(short, store, examples)


def test_only_inner_products_are_asked_from_several_threads(store):
    class Other(DotScorer):
        def scores(self, users):
            return -super().scores(users)

    examples = examples_of(store)
    scorer = dot_scorer(store, examples)
    other = rank_targets(Other(scorer.users, scorer.items, scorer.rows), store, examples)
    negative = rank_targets(DotScorer(scorer.users, -scorer.items, scorer.rows), store, examples)
    assert np.array_equal(other.higher, negative.higher)
    assert np.array_equal(other.equal, negative.equal)
