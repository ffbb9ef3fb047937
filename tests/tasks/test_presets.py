"""Presets against what the tools themselves say: `tests/peer_values.py` printed the values below with the versions named."""

import numpy as np
import peer_values
import polars as pl
import pytest
import torch

from usermodel.errors import ConfigError
from usermodel.events.readers import read_events
from usermodel.metrics.presets import PRESETS
from usermodel.store.build import build_store
from usermodel.tasks.next_item import METRICS, NextItem

# RecBole 1.2.1 (SASRec, leave-one-out, full ranking).
RECBOLE = {
    "hit@1": 0.3333,
    "hit@3": 0.5,
    "hit@5": 0.6667,
    "recall@1": 0.3333,
    "recall@3": 0.5,
    "recall@5": 0.6667,
    "ndcg@1": 0.3333,
    "ndcg@3": 0.4276,
    "ndcg@5": 0.4957,
    "map@1": 0.3333,
    "map@3": 0.4028,
    "map@5": 0.4403,
    "mrr@1": 0.3333,
    "mrr@3": 0.4028,
    "mrr@5": 0.4403,
    "gauc": 0.7679,
    "coverage@1": 0.5,
    "coverage@3": 0.9375,
    "coverage@5": 0.9375,
    "arp@1": 2.8333,
    "arp@3": 2.3889,
    "arp@5": 2.25,
}
# RecTools 0.19.0 (calc_metrics on lists of its TorchRanker that leave out what was viewed).
RECTOOLS = {
    "hit@1": 0.3333333333333333,
    "hit@3": 0.5,
    "hit@5": 0.6666666666666666,
    "recall@1": 0.3333333333333333,
    "recall@3": 0.5,
    "recall@5": 0.6666666666666666,
    "ndcg@1": 0.3333333333333333,
    "ndcg@3": 0.19553280250948188,
    "ndcg@5": 0.16318426511606365,
    "mrr@1": 0.3333333333333333,
    "mrr@3": 0.3888888888888889,
    "mrr@5": 0.4222222222222223,
    "map@1": 0.3333333333333333,
    "map@3": 0.3888888888888889,
    "map@5": 0.4222222222222223,
    "novelty@1": 2.01714740145307,
    "novelty@3": 2.069618753886716,
    "novelty@5": 2.136758752572415,
    "coverage@1": 7.0,
    "coverage@3": 14.0,
    "coverage@5": 15.0,
    "arp@1": 3.1666666666666665,
    "arp@3": 3.027777777777778,
    "arp@5": 2.8833333333333333,
}
# MatchBox 0.0.3 (evaluate_metrics) and FuxiCTR 2.3.10 (gAUC, avgAUC, MRR); both add 1e-12 to what they divide by.
BARS = {
    "hit@1": 0.3333333333333333,
    "hit@3": 0.5,
    "hit@5": 0.6666666666666666,
    "recall@1": 0.33333333333299997,
    "recall@3": 0.49999999999949996,
    "recall@5": 0.6666666666659999,
    "ndcg@1": 0.3333333333331023,
    "ndcg@3": 0.41666666666637786,
    "ndcg@5": 0.48114213453875676,
    "map@1": 0.33333333333299997,
    "map@3": 0.3888888888885,
    "map@5": 0.42222222222179995,
    "mrr@1": 0.3333333333333333,
    "mrr@3": 0.3888888888888889,
    "mrr@5": 0.4222222222222223,
    "gauc": 0.7526856638507124,
    "auc": 0.7526623376623377,
    "mrr": 0.44801587301542495,
}
TOOLS = {"recbole": RECBOLE, "rectools": RECTOOLS, "bars": BARS}


class Toy:
    n_items = peer_values.ITEMS
    matrix = torch.from_numpy(peer_values.scores()).float()

    def scores(self, users):
        return self.matrix[torch.from_numpy(users)]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    rows = [
        (f"u{user:02d}", f"i{item:02d}", time)
        for user, items in enumerate(peer_values.histories())
        for time, item in enumerate(items)
    ]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    return build_store(read_events(frame, time_unit="order"), tmp_path_factory.mktemp("toy") / "store")


def values(store, names, as_=None):
    task = NextItem(metrics=tuple(names), as_=as_)
    return {one.metric: one.value for one in task.score(Toy(), store, task.requests(store))}


def test_the_toy_case_has_repeats_and_no_ties():
    rows = peer_values.histories()
    assert [user for user, row in enumerate(rows) if row[-1] in row[:-1]] == [2, 7]
    assert all(len(set(row)) == peer_values.ITEMS for row in peer_values.scores().tolist())


@pytest.mark.parametrize("tool", TOOLS)
def test_a_preset_gives_the_numbers_of_the_tool(store, tool):
    found = values(store, TOOLS[tool], tool)
    assert found == pytest.approx(TOOLS[tool], abs=1e-9)


@pytest.mark.parametrize("tool", TOOLS)
def test_ours_differ_from_each_tool(store, tool):
    ours = values(store, TOOLS[tool])
    assert {name for name in ours if abs(ours[name] - TOOLS[tool][name]) > 1e-4} >= {"hit@5", "mrr@5"}


def test_a_preset_refuses_what_its_tool_lacks_before_anything_is_scored():
    with pytest.raises(ConfigError, match=r"'novelty@10', which RecBole 1\.2\.1 does not define"):
        NextItem(metrics=("ndcg@10", "novelty@10"), as_="recbole")
    with pytest.raises(ConfigError, match="mrr needs a cut-off there, such as mrr@10"):
        NextItem(metrics=("mrr",), as_="rectools")


@pytest.mark.parametrize("tool", PRESETS)
def test_the_default_metrics_are_ones_that_the_tool_has(tool):
    assert NextItem(as_=tool).metrics == (*METRICS[:-1], "mrr" if tool == "bars" else "mrr@10")
    assert NextItem().metrics == METRICS


def test_ties_are_the_mean_over_orders_in_a_preset_too(store):
    """The tools take the order that their sort leaves; the mean over random orders is what they give on average."""
    flat = Toy()
    flat.matrix = torch.zeros(peer_values.USERS, peer_values.ITEMS)
    task = NextItem(metrics=("hit@3", "mrr@3"), as_="recbole")
    found = {one.metric: one.value for one in task.score(flat, store, task.requests(store))}
    assert found == {"hit@3": 0.2, "mrr@3": round(float(np.sum(1 / np.arange(1, 4))) / 15, 4)}
