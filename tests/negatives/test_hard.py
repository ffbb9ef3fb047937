"""Hard draws: their probabilities by counting all pools, by exact fractions, and by drawing."""

import dataclasses
import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy import stats

from usermodel.errors import ConfigError
from usermodel.negatives import hard as hard_module
from usermodel.negatives.hard import Hard, HardConfig
from usermodel.negatives.protocol import DrawContext
from usermodel.negatives.user_lists import UserLists


def context_of(*scores):
    """Events whose scores are the given rows: unit vectors of items, scores as events."""
    table = torch.tensor(scores)
    vectors = torch.eye(table.shape[1])
    return DrawContext(table, lambda index: vectors if index is None else vectors[index - 1])


def by_all_pools(scores, candidates, top):
    """q of each item: every pool is as likely, and every order of equal candidates."""
    n = len(scores)
    q = [Fraction(0)] * n
    for pool in itertools.product(range(n), repeat=candidates):
        ordered = sorted((scores[item] for item in pool), reverse=True)
        for place in range(top):
            tied = [item for item in pool if scores[item] == ordered[place]]
            for item in tied:
                q[item] += Fraction(1, len(tied) * top * n**candidates)
    assert sum(q) == 1
    return np.array(q, dtype=float)


SCORES = [[0.5, -1.0, 2.0, 0.0], [1.0, 1.0, -3.0, 1.0], [0.0, 0.0, 0.0, 0.0], [2.0, 1.0, 1.0, 0.0]]


@pytest.mark.parametrize(("candidates", "top"), [(1, 1), (2, 1), (3, 1), (3, 2), (3, 3), (5, 2)])
def test_the_probability_is_the_share_of_all_pools(candidates, top):
    sampler, every = Hard(4, candidates=candidates, top=top), torch.arange(1, 5).repeat(len(SCORES), 1)
    q = sampler.log_probability(*sampler.places(context_of(*SCORES), every)).exp()
    wanted = np.stack([by_all_pools(row, candidates, top) for row in SCORES])
    np.testing.assert_allclose(q.numpy(), wanted, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("candidates", "top"), [(3, 1), (4, 3)])
def test_draws_fall_as_often_as_all_pools_say(candidates, top):
    sampler, generator = Hard(4, candidates=candidates, top=top), torch.Generator().manual_seed(0)
    ids = sampler.sample(torch.ones(4).long(), context_of(*SCORES), n=20_000, generator=generator).ids
    for row, scores in zip(ids.numpy(), SCORES, strict=True):
        expected = by_all_pools(scores, candidates, top) * len(row)
        counts = np.bincount(row, minlength=5)[1:]
        assert stats.chisquare(counts[expected > 0], expected[expected > 0]).pvalue > 1e-3


@pytest.mark.parametrize(("candidates", "top"), [(3, 1), (4, 2)])
def test_what_a_user_has_taken_comes_last_with_the_probability_of_that(candidates, top):
    taken = ((0, 3), (1, 1), (1, 4), (3, 1), (3, 2), (3, 3))
    seen = UserLists.of(*np.array(taken).T, n_users=4)
    sampler, generator = Hard(4, candidates=candidates, top=top, seen=seen), torch.Generator().manual_seed(0)
    context = dataclasses.replace(context_of(*SCORES), user=torch.arange(4))
    drawn = sampler.sample(torch.ones(4).long(), context, n=20_000, generator=generator)
    for user, scores in enumerate(SCORES):
        own = [-math.inf if (user, item) in taken else score for item, score in enumerate(scores, start=1)]
        law, ids = by_all_pools(own, candidates, top), drawn.ids[user].numpy()
        counts = np.bincount(ids, minlength=5)[1:]
        assert stats.chisquare(counts, law * len(ids)).pvalue > 1e-3
        np.testing.assert_allclose(drawn.log_q[user].numpy(), np.log(law[ids - 1]), rtol=1e-5)
        assert (drawn.weight[user] == 0).tolist() == [(user, item) in taken for item in ids.tolist()]
    # Nobody asks for probabilities: the same draws from gathered vectors.
    generator.manual_seed(0)
    cheap = sampler.sample(torch.ones(4).long(), context, n=20_000, generator=generator, log_q=False)
    assert torch.equal(cheap.ids, drawn.ids)
    assert torch.equal(cheap.weight, drawn.weight)


def test_only_training_events_count_as_taken(tiny_store):
    sampler = HardConfig(unseen=True).build(tiny_store, tiny_store.split())
    split, user = tiny_store.split(), 0
    begin, stop, end = tiny_store.offsets[user], split.train_stop[user], tiny_store.offsets[user + 1]
    items = torch.arange(1, tiny_store.n_items + 1)[None]
    found = items[sampler.seen.contains(torch.tensor([user]), items)].tolist()
    assert found == sorted(set(tiny_store.items[begin:stop].tolist()))
    assert stop < end


@pytest.mark.parametrize("top", [1, 5, 40])
def test_probabilities_keep_their_digits_from_the_best_item_to_the_last(top):
    n, m, equal = 300, 40, 1
    above = torch.tensor([[0, 1, 17, 150, 280, 298, 299]])
    found = Hard(n, candidates=m, top=top).log_probability(above, torch.full_like(above, equal))

    def reached(rank):
        p = Fraction(rank, n)
        tail = [
            sum(math.comb(m, i) * p**i * (1 - p) ** (m - i) for i in range(j, m + 1))
            for j in range(1, top + 1)
        ]
        return sum(tail, Fraction(0))

    exact = [(reached(int(a) + equal) - reached(int(a))) / top for a in above[0]]
    wanted = [math.log(q.numerator) - math.log(q.denominator) for q in exact]
    np.testing.assert_allclose(found[0].numpy(), wanted, rtol=1e-6)


def test_probabilities_of_all_items_add_up_to_one():
    sampler = Hard(50, candidates=8, top=3)
    torch.manual_seed(0)
    # Few different scores, so that many are equal.
    context = context_of(*torch.randint(0, 6, (4, 50)).float().tolist())
    every = torch.arange(1, 51).repeat(4, 1)
    total = sampler.log_probability(*sampler.places(context, every)).double().exp().sum(1)
    torch.testing.assert_close(total, torch.ones(4, dtype=torch.float64), rtol=1e-6, atol=0)


def test_places_are_the_same_by_comparing_and_by_sorting(monkeypatch):
    torch.manual_seed(0)
    context = context_of(*torch.randint(0, 6, (5, 50)).float().tolist())
    ids, sampler = torch.randint(1, 51, (5, 8)), Hard(50)
    compared = sampler.places(context, ids)
    monkeypatch.setattr(hard_module, "FEW", 0)
    for one, other in zip(compared, sampler.places(context, ids), strict=True):
        assert torch.equal(one, other)


def test_one_candidate_is_uniform_and_so_are_all_of_them_in_turn():
    for sampler in (Hard(4), Hard(4, candidates=1), Hard(4, candidates=6, top=6)):
        drawn = sampler.sample(torch.ones(4).long(), context_of(*SCORES), n=9)
        if sampler.candidates == sampler.top:
            torch.testing.assert_close(drawn.log_q, torch.full((4, 9), math.log(1 / 4)))
        else:
            assert not torch.allclose(drawn.log_q, torch.full((4, 9), math.log(1 / 4)))


def draws(sampler, context, *, log_q=True, n=6):
    generator = torch.Generator().manual_seed(3)
    return sampler.sample(
        torch.ones(len(context.vectors)).long(), context, n=n, generator=generator, log_q=log_q
    )


@pytest.fixture
def context():
    torch.manual_seed(1)
    items = torch.randn(500, 8)
    return DrawContext(torch.randn(64, 8), lambda index: items if index is None else items[index - 1])


@pytest.mark.parametrize("top", [1, 3])
def test_scores_of_the_candidates_alone_draw_the_same(context, monkeypatch, top):
    monkeypatch.setattr(hard_module, "GATHERED", 1)
    sampler = Hard(500, candidates=4, top=top)
    looked, cheap = draws(sampler, context), draws(sampler, context, log_q=False)
    assert torch.equal(looked.ids, cheap.ids)
    assert cheap.log_q is None


@pytest.mark.parametrize("log_q", [True, False])
def test_rows_in_small_chunks_draw_the_same_and_hold_few_at_once(context, monkeypatch, log_q):
    monkeypatch.setattr(hard_module, "GATHERED", 1)
    sampler = Hard(500, candidates=4)
    whole = draws(sampler, context, log_q=log_q)
    rows, plain = [], hard_module._scores
    monkeypatch.setattr(
        hard_module, "_scores", lambda chunk, *rest: rows.append(len(chunk)) or plain(chunk, *rest)
    )
    monkeypatch.setattr(hard_module, "NUMBERS", {"cpu": 5_000})
    parts = draws(sampler, context, log_q=log_q)
    assert torch.equal(parts.ids, whole.ids)
    if log_q:
        torch.testing.assert_close(parts.log_q, whole.log_q)
    assert sum(rows) == 64
    assert max(rows) * (2 * 500 if log_q else 6 * 4 * 8) <= 5_000


def test_more_candidates_are_harder(context):
    items = context.item_vectors()
    means = []
    for candidates in (1, 4, 16, 64):
        ids = draws(Hard(500, candidates=candidates), context, n=50).ids
        means.append(float((items[ids - 1] * context.vectors[:, None]).sum(2).mean()))
    assert means == sorted(means)


def test_no_event_has_no_draws():
    context = DrawContext(torch.zeros(0, 4), lambda _: torch.eye(4))
    assert draws(Hard(4), context).log_q.shape == (0, 6)
    assert draws(Hard(4, top=2), context, log_q=False).ids.shape == (0, 6)


def test_more_of_the_best_than_candidates_are_refused():
    with pytest.raises(ConfigError, match="top at most candidates=4, got 5"):
        HardConfig.from_dict({"candidates": 4, "top": 5})


def test_without_vectors_of_items_it_says_so():
    with pytest.raises(ConfigError, match="the vectors of items"):
        Hard(4).sample(torch.tensor([1]), DrawContext(torch.zeros(1, 4)), n=2)
