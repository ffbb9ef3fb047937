import math

import numpy as np
import polars as pl
import pytest
import torch
from scipy import stats

from usermodel.errors import ConfigError
from usermodel.events.readers import read_events
from usermodel.events.splits import LeaveLastOutConfig
from usermodel.negatives.protocol import DrawContext
from usermodel.negatives.unseen import Unseen, UnseenConfig
from usermodel.store.build import build_store

COUNTS = np.array([1.0, 0.0, 16.0, 81.0, 4.0, 16.0])
#: Positions of items that each user has had: some, both ends, none, all, all but one.
SEEN = [[1, 2, 4], [0, 5], [], [0, 1, 2, 3, 4, 5], [0, 1, 2, 4, 5]]


def sampler(alpha=0.0):
    user = np.repeat(np.arange(len(SEEN)), [len(items) for items in SEEN])
    item = np.array([item for items in SEEN for item in items], dtype=np.int64)
    return Unseen(user, item, len(SEEN), COUNTS, alpha=alpha)


def context(users):
    return DrawContext(torch.zeros(len(users), 2), user=torch.tensor(users))


def law(user, alpha):
    """Directly: a list of what is left, and the share of each."""
    left = [item for item in range(len(COUNTS)) if item not in SEEN[user]] or list(range(len(COUNTS)))
    weight = {item: max(COUNTS[item], 1) ** alpha for item in left}
    return {item + 1: weight[item] / sum(weight.values()) for item in left}


@pytest.mark.parametrize("alpha", [0.0, 0.75])
@pytest.mark.parametrize("user", range(len(SEEN)))
def test_the_law_of_each_user(user, alpha):
    """Seen items are never drawn, and the others as often as the list says; a user who has had all draws from all."""
    generator = torch.Generator().manual_seed(user)
    users = [4, user, 0]
    drawn = sampler(alpha).sample(
        torch.ones(3, dtype=torch.int64), context(users), n=20_000, generator=generator
    )
    ids, log_q, expected = drawn.ids[1], drawn.log_q[1], law(user, alpha)
    assert set(ids.tolist()) == set(expected)
    counts = [int((ids == item).sum()) for item in expected]
    if len(counts) > 1:
        assert stats.chisquare(counts, [20_000 * share for share in expected.values()]).pvalue > 1e-3
    wanted = torch.tensor([math.log(expected[item]) for item in ids.tolist()])
    torch.testing.assert_close(log_q, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.75])
def test_every_point_of_the_mass_is_the_item_that_a_walk_finds(monkeypatch, alpha):
    """The first and the last point of every item that is left, user by user, beside a walk over the items."""
    made = sampler(alpha)
    weight = np.diff(np.concatenate([[0], made.until.numpy()]))
    for user, seen in enumerate(SEEN[:3]):
        ends, point = {}, 0
        for item in range(len(COUNTS)):
            if item not in seen:
                ends[point], ends[point + int(weight[item]) - 1] = item + 1, item + 1
                point += int(weight[item])
        assert int(made.left[user]) == point
        words = torch.tensor(list(ends))
        monkeypatch.setattr(torch.Tensor, "random_", lambda self, words=words, **_: self.copy_(words))
        drawn = made.sample(torch.tensor([1]), context([user]), n=len(ends))
        monkeypatch.undo()
        assert drawn.ids[0].tolist() == list(ends.values())


def test_long_histories_are_searched_exactly():
    rng = np.random.default_rng(0)
    seen = [np.sort(rng.choice(500, size=size, replace=False)) for size in (499, 250, 1, 400)]
    user = np.repeat(np.arange(4), [len(items) for items in seen])
    made = Unseen(user, np.concatenate(seen), 4, rng.integers(0, 99, 500).astype(float), alpha=0.5)
    drawn = made.sample(torch.ones(4, dtype=torch.int64), context([0, 1, 2, 3]), n=5_000)
    for items, ids in zip(seen, drawn.ids, strict=True):
        assert not np.isin(ids.numpy() - 1, items).any()
    assert drawn.ids[0].unique().tolist() == [int(np.setdiff1d(np.arange(500), seen[0])[0]) + 1]
    assert len(drawn.ids[1].unique()) > 240


def test_only_the_training_history_counts_as_seen(tmp_path):
    frame = pl.DataFrame({"user_id": ["u"] * 5, "item_id": [*"aabcd"], "timestamp": range(5)})
    store = build_store(read_events(frame, time_unit="order"), tmp_path / "store")
    made = UnseenConfig().build(store, store.split(LeaveLastOutConfig()))
    ids = made.sample(torch.tensor([1]), context([0]), n=300).ids.flatten()
    left = {int(store.vocabulary.encode(pl.Series([one]))[0]) for one in "cd"}
    assert set(ids.tolist()) == left


def test_who_does_not_know_the_users_is_told():
    with pytest.raises(ConfigError, match="the user of each event"):
        sampler().sample(torch.tensor([1]), DrawContext(torch.zeros(1, 2)), n=3)
