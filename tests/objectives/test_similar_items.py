"""Item correlations: against loops over users, as they are defined, and only from what an epoch's examples hold."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from usermodel.encoders.transformer import TransformerConfig
from usermodel.events.splits import LeaveLastOutConfig
from usermodel.objectives import similar_items
from usermodel.objectives.similar_items import SimilarItems, co_occurring, most_similar
from usermodel.sampling.all_positions import AllPositionsConfig
from usermodel.sampling.protocol import Examples

EVENTS = st.lists(st.tuples(st.integers(0, 6), st.integers(1, 9)), max_size=40)


def by_loops(events, n_items):
    """``{(i, j): score}``, from the definition."""
    items = {}
    for user, item in events:
        items.setdefault(user, set()).add(item)
    count = {i: sum(i in own for own in items.values()) for i in range(1, n_items + 1)}
    scores = {}
    for own in items.values():
        for i in own:
            for j in own - {i}:
                share = 1 / math.log(1 + len(own)) / math.sqrt(count[i] * count[j])
                scores[i, j] = scores.get((i, j), 0) + share
    return scores


@pytest.mark.parametrize("pairs", [1, 30, similar_items.PAIRS])
@given(events=EVENTS)
def test_equals_the_definition_whatever_the_size_of_a_piece(pairs, events):
    scores = by_loops(events, 9)
    table = np.array(events or np.empty((0, 2)), dtype=np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similar_items, "PAIRS", pairs)
        found, similarity = co_occurring(table[:, 0] * 1000, table[:, 1], 9)
    assert found.shape == similarity.shape == (10,)
    assert found[0] == similarity[0] == 0
    least, spread = min(scores.values(), default=0), np.ptp(list(scores.values()) or [0])
    for i in range(1, 10):
        own = {j: score for (a, j), score in scores.items() if a == i}
        if not own:
            assert found[i] == similarity[i] == 0
            continue
        best = max(own.values())
        if spread > 1e-9:
            assert similarity[i] == pytest.approx((best - least) / spread)
        assert found[i] == min(j for j, score in own.items() if math.isclose(score, best, rel_tol=1e-12))


def test_a_frequent_companion_gives_way_to_a_faithful_one():
    """Item 3 goes with everything; 1 and 2 go with each other, and with users of few items."""
    events = [(0, 1), (0, 2), (1, 1), (1, 2), (2, 3), (2, 1), (3, 3), (4, 3), (2, 2), (2, 4)]
    user, item = np.array(events).T
    assert most_similar(user, item, 5).tolist() == [0, 2, 1, 4, 1, 0]


def test_pairs_that_are_all_alike_have_similarity_one():
    user, item = np.array([(0, 1), (0, 2), (1, 3)]).T
    assert co_occurring(user, item, 4)[1].tolist() == [0, 1, 1, 0, 0]


#: User 0 took 1 and 2, user 1 took 1, 2 and 3, user 2 took 4.
TAKEN = [[1, 2], [1, 2, 3], [4]]


def encoder_with(*vectors):
    encoder = TransformerConfig(dim=2, heads=1, hidden=4, layers=1).build(len(vectors))
    with torch.no_grad():
        encoder.items.weight[1:] = torch.tensor(vectors)
    return encoder


def test_later_epochs_take_the_larger_of_both_similarities(make_store):
    """By hand. By users: 1 and 2 have the largest similarity, 1; 3 has the least, 0, with both; 4 has none.

    Products: the largest is that of item 4 with itself, 9, the least that of 2 and 4, -3. So 1 is 0.75 like 4 (6), less than 1;
    2 is 0.25 like 3 (0), less than 1; 3 is 0.5 like 4 (3), more than 0; 4 has the nearest, 1.
    """
    store = make_store(*[[item - 1 for item in history] for history in TAKEN])
    rank = {int(name.removeprefix("i")) + 1: n + 1 for n, name in enumerate(store.vocabulary.ids)}
    assert rank == {1: 1, 2: 2, 3: 3, 4: 4}
    users = np.arange(3)
    examples = Examples.histories(store, users, store.offsets[1:], 10)
    encoder = encoder_with([2.0, 0.0], [-1.0, 1.0], [1.0, 1.0], [3.0, 0.0])
    by_users, hybrid = [0, 2, 1, 1, 0], [0, 2, 1, 4, 1]
    similar, never = SimilarItems(4, hybrid_after=2), SimilarItems(4)
    for wanted in (by_users, by_users, hybrid):
        similar.on_epoch_start(encoder, store, examples)
        never.on_epoch_start(encoder, store, examples)
        assert similar.most_similar.tolist() == wanted
        assert never.most_similar.tolist() == by_users
    # A resumed run goes on: with other vectors the next epoch finds others, and nothing is left of those before.
    again = SimilarItems(4, hybrid_after=2)
    again.load_state_dict(similar.state_dict())
    assert again.most_similar.tolist() == hybrid
    again.on_epoch_start(encoder_with(*[[0.0, 0.0]] * 4), store, examples)
    assert again.most_similar.tolist() == [0, 2, 1, 1, 1]


def test_held_out_events_are_not_counted_and_one_fit_is_kept(tiny_store):
    split = tiny_store.split(LeaveLastOutConfig())
    rng = np.random.default_rng(0)
    examples = AllPositionsConfig().sample(tiny_store, split, max_history=2, rng=rng)
    found = SimilarItems(tiny_store.n_items)
    assert not found.most_similar.any()
    found.fit_once(tiny_store, examples)
    events = [
        (user, int(item))
        for user in range(tiny_store.n_users)
        for item in tiny_store.items[split.start[user] : split.train_stop[user]]
        if split.train_stop[user] - split.start[user] > 1
    ]
    user, item = np.array(events).T
    expected = most_similar(user, item, tiny_store.n_items)
    assert expected.any()
    assert found.most_similar.tolist() == expected.tolist()
    found.fit_once(tiny_store, examples.take(np.arange(0)))
    assert found.most_similar.tolist() == expected.tolist()
