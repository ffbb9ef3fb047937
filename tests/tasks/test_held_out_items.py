"""The held-out-items task by hand."""

import math

import numpy as np
import polars as pl
import pytest
import torch

from usermodel.errors import ConfigError, DataError
from usermodel.events.readers import read_events
from usermodel.events.splits import LeaveLastOutConfig, Split, UserRatioConfig
from usermodel.store.build import build_store
from usermodel.tasks.held_out_items import HeldOutItems
from usermodel.tasks.next_item import NextItem


@pytest.fixture
def store(tmp_path):
    # Train, valid, test of each: ab|c|de, bc|d|ea, a d|e|b c.
    rows = [("u1", "abcde"), ("u2", "bcdea"), ("u3", "adebc")]
    events = [(user, item, step) for user, items in rows for step, item in enumerate(items)]
    frame = pl.DataFrame(events, schema=["user_id", "item_id", "timestamp"], orient="row")
    return build_store(read_events(frame, time_unit="order"), tmp_path / "store")


def split(store):
    start = np.asarray(store.offsets[:-1])
    return Split(start, start + 2, start + 3, start + 5, "by hand")


class Same:
    """Scores of a to e, for everybody."""

    def __init__(self, store, **scores):
        ids = store.vocabulary.decode(np.arange(1, store.n_items + 1))
        self.row, self.n_items = torch.tensor([scores[one] for one in ids]), store.n_items

    def scores(self, users):
        return self.row.expand(len(users), -1).contiguous()


def test_recall_ndcg_and_popularity_by_hand(store):
    task = HeldOutItems(split=split(store), metrics=("recall@1", "ndcg@2", "recall@2", "arp@1", "coverage@1"))
    scorer = Same(store, a=5.0, b=4.0, c=3.0, d=2.0, e=1.0)
    found = {one.metric: one for one in task.score(scorer, store, task.requests(store))}
    # Two candidates are left for each user, and both are targets.
    assert found["recall@1"].value == pytest.approx(0.5)
    assert found["recall@2"].value == found["ndcg@2"].value == pytest.approx(1.0)
    # First ones: d, a, b, with 1, 2 and 2 training events.
    assert found["arp@1"].value == pytest.approx(5 / 3)
    assert found["coverage@1"].value == pytest.approx(3 / 5)
    assert {one.n for one in found.values()} == {3}
    assert "the whole history before the test part" in found["recall@1"].definition


def test_validation_leaves_only_training_items_out(store):
    task = HeldOutItems(part="valid", split=split(store), metrics=("ndcg@2",))
    # Candidates of u1: c d e, target c, rank 3; u2: a d e, target d, rank 2; u3: b c e, target e, rank 1.
    scorer = Same(store, a=1.0, b=0.0, c=0.5, d=2.0, e=3.0)
    value = task.score(scorer, store, task.requests(store))[0].value
    assert value == pytest.approx((0 + 1 / math.log2(3) + 1) / 3)


def test_with_one_target_a_user_it_is_the_next_item_task(store):
    names = ("recall@2", "ndcg@2", "recall@3", "ndcg@3")
    scorer = Same(store, a=1.0, b=0.3, c=0.3, d=2.0, e=0.5)
    tasks = NextItem(metrics=names), HeldOutItems(split=LeaveLastOutConfig(), metrics=names)
    found = [[one.value for one in task.score(scorer, store, task.requests(store))] for task in tasks]
    assert found[0] == pytest.approx(found[1])


@pytest.mark.parametrize("name", ["mrr", "hit@5", "recall", "nonsense@3"])
def test_other_metrics_are_refused(name):
    with pytest.raises(ConfigError):
        HeldOutItems(metrics=(name,))


def test_nothing_held_out_is_an_error(store):
    with pytest.raises(DataError, match="a valid part"):
        HeldOutItems(part="valid", split=UserRatioConfig(valid=0.0, test=0.2)).requests(store)
