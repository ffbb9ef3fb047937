"""Item correlations: against loops over users, as they are defined, and only from what an epoch's examples hold."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usermodel.events.splits import LeaveLastOutConfig
from usermodel.objectives import similar_items
from usermodel.objectives.similar_items import SimilarItems, most_similar
from usermodel.sampling.all_positions import AllPositionsConfig

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
        found = most_similar(table[:, 0] * 1000, table[:, 1], 9)
    assert found.shape == (10,)
    assert found[0] == 0
    for i in range(1, 10):
        own = {j: score for (a, j), score in scores.items() if a == i}
        if not own:
            assert found[i] == 0
            continue
        best = max(own.values())
        assert found[i] == min(j for j, score in own.items() if math.isclose(score, best, rel_tol=1e-12))


def test_a_frequent_companion_gives_way_to_a_faithful_one():
    """Item 3 goes with everything; 1 and 2 go with each other, and with users of few items."""
    events = [(0, 1), (0, 2), (1, 1), (1, 2), (2, 3), (2, 1), (3, 3), (4, 3), (2, 2), (2, 4)]
    user, item = np.array(events).T
    assert most_similar(user, item, 5).tolist() == [0, 2, 1, 4, 1, 0]


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
