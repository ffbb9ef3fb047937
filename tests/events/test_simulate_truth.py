"""The planted truth, computed a second time from the files alone, by the formulas of truth/model.json."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from usermodel import manifest
from usermodel.events.parquet import read_parquet
from usermodel.events.simulate import KIND, SimulateConfig, simulate

TINY: dict[str, Any] = {"n_users": 40, "n_items": 80, "n_events": 500, "n_intents": 4, "user_intents": 2}


def index(ids: pl.Series) -> np.ndarray:
    return ids.str.slice(1).cast(pl.Int64).to_numpy()


class Replay:
    """Slow and plain: one user, one list of earlier clicks, all items."""

    def __init__(self, path: Path) -> None:
        model = json.loads((path / "truth" / "model.json").read_text())
        self.c = SimulateConfig.from_dict(model["config"])
        users, items = (read_parquet(path / "truth" / f"{name}.parquet") for name in ("users", "items"))
        self.held, self.preferences = users["held"].to_list(), users["preferences"].to_list()
        self.category = np.array(
            [model["categories"].index(name) for name in read_parquet(path / "items.parquet")["category"]]
        )
        self.intent, self.appeal = items["intent"].to_numpy(), items["appeal"].to_numpy()
        self.next = items["next_item_id"].str.slice(1).cast(pl.Int64).fill_null(-1).to_numpy()
        popularity = items["popularity"].to_numpy()
        self.own = popularity / np.array([popularity[self.category == c].sum() for c in self.category])
        p = 1 - self.c.explore_share - self.c.related_share - self.c.taste_share - self.c.next_share
        self.general = (p * popularity + self.c.explore_share / self.c.n_items) / (p + self.c.explore_share)

    def successor(self, history: list[int]) -> int:
        successor = int(self.next[history[-1]]) if history else -1
        return -1 if successor in history else successor

    def shown(self, user: int, history: list[int]) -> np.ndarray:
        """Propensity of every item."""
        r = self.c.related_share / (1 - self.c.next_share) if history else 0.0
        t = self.c.taste_share / (1 - self.c.next_share)
        held = np.isin(self.category, self.held[user]) / self.c.user_intents
        b = (1 - r - t) * self.general + t * self.own * held
        if history:
            b += r * self.own * (self.category == self.category[history[-1]])
        b[history] = 0
        successor = self.successor(history)
        n = self.c.next_share if successor >= 0 else 0.0
        return n * (np.arange(self.c.n_items) == successor) + (1 - n) * b / b.sum()

    def click(self, intent: int, history: list[int]) -> np.ndarray:
        """Click probability of every item."""
        is_next = np.arange(self.c.n_items) == self.successor(history)
        logits = self.c.click_bias + self.c.match_effect * (self.intent == intent) + self.appeal
        return 1 / (1 + np.exp(-(logits + self.c.next_effect * is_next)))

    def next_item(self, user: int, intent: int, history: list[int]) -> np.ndarray:
        """Probability of every item to be the next event, from the active intent at the last one."""
        held = self.held[user]
        ring = [(intent + step) % self.c.n_intents for step in range(1, self.c.n_intents + 1)]
        following = next(k for k in ring if k in held)
        drift = self.c.drift * (1 - 1 / self.c.session_events) + self.c.session_drift / self.c.session_events
        total = np.zeros(self.c.n_items)
        for k, preference in enumerate(self.preferences[user]):
            chance = drift * (self.c.directed * (k == following) + (1 - self.c.directed) * preference)
            clicked = self.shown(user, history) * self.click(k, history)
            total += (chance + (1 - drift) * (k == intent)) * clicked / clicked.sum()
        return total


@pytest.mark.parametrize("fields", [{}, {"next_share": 0.1, "series_length": 20.0, "category_noise": 0.5}])
def test_truth_agrees_with_its_formulas(fields: dict[str, Any], tmp_path: Path) -> None:
    path = simulate(SimulateConfig(**(TINY | fields)), tmp_path / "logs")
    replay, best = Replay(path), read_parquet(path / "truth" / "next_item.parquet").to_dicts()
    shown, relevance = read_parquet(path / "impressions.parquet"), []
    rows = pl.concat([shown, read_parquet(path / "truth" / "impressions.parquet")], how="horizontal")
    for user_id, mine in rows.group_by("user_id", maintain_order=True):
        user, history, n_events = int(str(user_id[0])[1:]), list[int](), mine["clicked"].sum()
        for row, item in zip(mine.to_dicts(), index(mine["item_id"]), strict=True):
            chance = replay.click(row["intent"], history)
            assert replay.shown(user, history)[item] == pytest.approx(row["propensity"], rel=1e-9)
            assert chance[item] == pytest.approx(row["p_click"], rel=1e-5)
            assert row["is_next"] == (item == replay.successor(history))
            relevance.append(np.delete(chance, history).mean())
            if row["clicked"]:
                history.append(int(item))
                if len(history) == n_events - 1:
                    check_best(best[user], replay.next_item(user, row["intent"], history), history)
        assert history[-1] == int(best[user]["item_id"][1:])
    truth = manifest.read(path, KIND).meta["truth"]
    assert np.mean(relevance) == pytest.approx(truth["mean_relevance"], rel=1e-6)


def check_best(best: dict[str, Any], scores: np.ndarray, history: list[int]) -> None:
    assert scores.sum() == pytest.approx(1)
    assert not scores[history].any()
    target = int(best["item_id"][1:])
    assert best["probability"] == pytest.approx(scores[target], rel=1e-5)
    assert best["rank"] == 1 + (scores > scores[target] * (1 + 1e-9)).sum()
    top = [int(name[1:]) for name in best["top_item_ids"]]
    assert scores[top] == pytest.approx(np.array(best["top_probabilities"]), rel=1e-5)
    assert scores[top] == pytest.approx(np.sort(scores)[::-1][: len(top)], rel=1e-5)
