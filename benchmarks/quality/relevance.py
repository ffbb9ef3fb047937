"""Is the loss of Rel-MF without bias, and does it help on items drawn at random? Three parts, one JSON.

    python benchmarks/quality/relevance.py --out benchmarks/results/relevance.json

``movielens-100k``: relevance is fitted to the ratings (a low-rank completion, through a sigmoid), exposure has known propensities
``(n_i / max n) ** 0.5``; clicks of 200 users are drawn 200 times, and the estimated losses of one trained model compared with its loss under
the true relevance. ``simulator``: the same where both truths are the simulator's: its policy shows each user 20 more items, and
its click model decides. ``coat``: ratings of 4 and 5 are clicks; models are trained on those that users chose to give, and
tested on each user's 16 randomly drawn coats. Propensities are guessed by the power law; a tenth of the clicks is held out, on which
each loss chooses its weight decay and number of epochs by its own measure: DCG@10, for Rel-MF weighted by 1 / theta. Everything
else was set once, on a seed that is not used here. Data: $USERMODEL_DATA_DIR.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from seeds import interval

import usermodel as um
from usermodel.baselines.fit import FitConfig, fit
from usermodel.baselines.interactions import Interactions
from usermodel.baselines.matrix_factorization import MatrixFactorization
from usermodel.baselines.relevance_mf import AllPairs, RelevanceConfig
from usermodel.events.data_sets import read_data_set
from usermodel.events.simulate_config import SimulateConfig
from usermodel.events.simulate_users import make_users
from usermodel.events.simulate_walk import Walk
from usermodel.events.simulate_world import generator, make_world
from usermodel.losses.relevance import relevance_loss
from usermodel.store.build import build_store
from usermodel.store.propensity import Propensity
from usermodel.store.sequence_store import SequenceStore

DRAWS = 200
#: Users of MovieLens-100K whose pairs with every item the loss is over.
USERS = 200
CLIPS = {"movielens-100k": (0.0, 0.05, 0.1, 0.2, 0.4), "simulator": (0.0, 0.001, 0.01, 0.05, 0.2)}
#: Impressions that the simulator's policy gives each user in a draw.
SLATE = 20
KS = (1, 3, 5)
COAT = {"dim": 100, "epochs": 300, "learning_rate": 0.005, "batch_users": 512, "validate_every": 25}
COAT_L2 = (0.001, 0.01)
COAT_CLIP = 0.3


def make_store(data: str, folder: Path) -> SequenceStore:
    """A public data set as a store."""
    source = Path(os.environ["USERMODEL_DATA_DIR"]) / {"movielens-100k": "ml-100k", "coat": "coat"}[data]
    prepared = read_data_set(data, source)
    return build_store(prepared.log, folder / data, labels=prepared.tables.labels)


def events(store: SequenceStore) -> tuple[ndarray, ndarray]:
    """User and item index of every event."""
    return np.repeat(np.arange(store.n_users), np.diff(store.offsets)), store.items.astype(np.int64)


def scores_of(user: ndarray, item: ndarray, shape: tuple[int, int]) -> torch.Tensor:
    """Of a plain model that is trained on some clicks: any fixed scores would do."""
    torch.manual_seed(0)
    model = MatrixFactorization(*shape, 16)
    pairs = Interactions.from_arrays(user, item, n_users=shape[0], n_items=shape[1])
    fit(model, pairs, AllPairs(), None, FitConfig(epochs=20, batch_users=128, learning_rate=0.01, l2=0.001))
    return model.scorer().scores(np.arange(shape[0])).double()


def movielens(folder: Path) -> tuple[ndarray, ndarray, torch.Tensor, ndarray]:
    """Relevance, propensity, scores, and which pairs there are."""
    store = make_store("movielens-100k", folder)
    user, item = events(store)
    rating = np.zeros((store.n_users, store.n_items))
    seen = np.zeros_like(rating, dtype=bool)
    rating[user, item - 1], seen[user, item - 1] = store.feature("rating"), True
    mean = rating[seen].mean()
    by_item = ((rating - mean) * seen).sum(0) / (seen.sum(0) + 10)
    by_user = ((rating - mean - by_item) * seen).sum(1, keepdims=True) / (seen.sum(1, keepdims=True) + 10)
    rest = np.where(seen, rating - mean - by_item - by_user, 0.0)
    left, size, right = np.linalg.svd(rest, full_matrices=False)
    guess = mean + by_item + by_user + (left[:, :20] * size[:20]) @ right[:20]
    gamma = 1.0 / (1.0 + np.exp(4.0 - guess))
    counts = np.maximum(np.bincount(item - 1, minlength=store.n_items), 1)
    theta = np.broadcast_to((counts / counts.max()) ** 0.5, gamma.shape)
    there = np.broadcast_to(np.arange(store.n_users)[:, None] < USERS, seen.shape)
    return gamma, theta, scores_of(user, item, gamma.shape), there.copy()


def simulator(folder: Path) -> tuple[ndarray, ndarray, torch.Tensor, ndarray]:
    """The same, from the state of a simulated world after its last event; what was clicked is not shown again."""
    del folder
    config = SimulateConfig(n_users=500, n_items=400, n_events=15_000)
    world, users = make_world(config), make_users(config)
    walk = Walk(config, world, users, generator(config, 3, 0))
    rows = walk.run(_silent)
    everyone = np.arange(config.n_users)
    shown = np.maximum(walk.exposure.distribution(everyone), 0.0)
    match = (world.intent[None] == walk.intent[:, None]).astype(int)
    follows = (np.arange(config.n_items)[None] == walk.exposure.successor[:, None]).astype(int)
    gamma = world.click[follows, match, np.arange(config.n_items)[None]]
    theta = -np.expm1(SLATE * np.log1p(-shown))
    clicked = rows.clicked
    scores = scores_of(rows.user[clicked].astype(np.int64), rows.item[clicked] + 1, gamma.shape)
    return gamma, theta, scores, ~walk.exposure.seen


def _silent(done: int) -> None:
    """Report to nobody."""
    del done


def draws(data: str, folder: Path, seed: int) -> dict[str, Any]:
    """Bias and spread of each estimate of the loss over draws of exposure and relevance."""
    gamma, theta, scores, there = {"movielens-100k": movielens, "simulator": simulator}[data](folder)
    gamma, theta, score = gamma[there], theta[there], scores[torch.from_numpy(there)]
    rng, known = np.random.default_rng(seed), torch.from_numpy(theta)
    chance = score.sigmoid()
    relevance = torch.from_numpy(gamma)
    ideal = float((relevance * (1 - chance).square() + (1 - relevance) * chance.square()).mean())
    values: dict[str, list[float]] = {"naive": []} | {f"clip {clip}": [] for clip in CLIPS[data]}
    for _ in range(DRAWS):
        clicked = torch.from_numpy(rng.random(len(theta)) < theta * gamma)
        values["naive"].append(float(relevance_loss(score, clicked)))
        for clip in CLIPS[data]:
            values[f"clip {clip}"].append(float(relevance_loss(score, clicked, known, clip=clip)))
    found = {}
    for name, losses in values.items():
        error = float(np.std(losses, ddof=1)) / DRAWS**0.5
        bias = float(np.mean(losses)) - ideal
        found[name] = {
            "mean": float(np.mean(losses)),
            "bias": bias,
            "standard_error": error,
            "bias_in_standard_errors": bias / error,
            "variance": float(np.var(losses, ddof=1)),
        }
    spread = [found[f"clip {clip}"]["variance"] for clip in CLIPS[data]]
    return {
        "ideal_loss": ideal,
        "pairs": len(theta),
        "propensity": {"smallest": float(theta.min()), "median": float(np.median(theta))},
        "estimates": found,
        "unbiased_within_2_standard_errors": abs(found["clip 0.0"]["bias_in_standard_errors"]) < 2,
        "naive_within_2_standard_errors": abs(found["naive"]["bias_in_standard_errors"]) < 2,
        "variance_falls_as_clip_rises": spread == sorted(spread, reverse=True),
    }


def per_user(scores: ndarray, table: Any, rare: ndarray | None) -> dict[str, float]:
    """DCG, recall and MAP over each user's randomly drawn items; users with no positive among them are left out.

    DCG has weights 1, 1, 1 / log2(3), ...; MAP@k is the mean precision at the positives among the first k, over the
    smaller of k and the number of positives.
    """
    rows: dict[str, list[float]] = {f"{name}@{k}": [] for name in ("dcg", "recall", "map") for k in KS}
    user, item, value = (table[name].to_numpy() for name in ("user_row", "item_index", "value"))
    for one in np.unique(user):
        mine = (user == one) & (True if rare is None else rare[item - 1])
        wanted = value[mine] >= 4
        if not wanted.any():
            continue
        hits = wanted[np.argsort(-scores[one, item[mine] - 1], kind="stable")].astype(float)
        places = np.arange(1, len(hits) + 1)
        precision = np.cumsum(hits) / places
        for k in KS:
            rows[f"dcg@{k}"].append(float((hits / np.maximum(np.log2(places), 1.0))[:k].sum()))
            rows[f"recall@{k}"].append(float(hits[:k].sum() / hits.sum()))
            rows[f"map@{k}"].append(float((precision * hits)[:k].sum() / min(k, hits.sum())))
    return {name: float(np.mean(values)) for name, values in rows.items()} | {"users": len(rows["dcg@1"])}


def coat_seed(store: SequenceStore, seed: int) -> dict[str, Any]:
    """Train every loss on one draw of held-out clicks and first vectors."""
    user, item = events(store)
    likes = store.feature("rating") >= 4
    user, item = user[likes], item[likes]
    held = np.random.default_rng(seed).random(len(user)) < 0.1
    shape = (store.n_users, store.n_items)
    pairs = Interactions.from_arrays(user[~held], item[~held], n_users=shape[0], n_items=shape[1])
    counts = np.maximum(pairs.item_counts, 1)
    theta = Propensity(np.append(1.0, (counts / counts.max()) ** 0.5), np.ones(shape[0]), 0.0)
    rare = pairs.item_counts <= np.median(pairs.item_counts)
    seen = pairs.matrix().toarray() > 0

    def dcg(model: Any, weight: ndarray) -> float:
        scores = model.scorer().scores(np.arange(shape[0])).numpy()
        own = scores[user[held], item[held] - 1][:, None]
        rank = 1 + ((scores[user[held]] > own) & ~seen[user[held]]).sum(1)
        return float(((rank <= 10) / np.log2(rank + 1.0) * weight).sum() / weight.sum())

    flat, inverse = np.ones(held.sum()), 1.0 / theta.of(user[held], item[held])
    losses = {
        "naive": (AllPairs(), flat),
        "rel-mf": (AllPairs(theta), inverse),
        "clipped": (AllPairs(theta, RelevanceConfig(clip=COAT_CLIP)), inverse),
    }
    results: dict[str, Any] = {}
    settings = {name: value for name, value in COAT.items() if name != "dim"}
    table = store.table("labels")
    popular = np.broadcast_to(pairs.item_counts.astype(float), shape)
    results["popularity"] = {"all": per_user(popular, table, None), "rare": per_user(popular, table, rare)}
    for name, (loss, weight) in losses.items():
        best: tuple[float, Any, dict[str, float]] | None = None
        for l2 in COAT_L2:
            torch.manual_seed(seed)
            model = MatrixFactorization(*shape, int(COAT["dim"]))
            config = FitConfig(**settings, l2=l2, seed=seed)
            done = fit(model, pairs, loss, None, config, validate=lambda one, w=weight: dcg(one, w))
            value = dcg(model, weight)
            if best is None or value > best[0]:
                chosen = {"l2": l2, "epoch": done.best_epoch, "held_out": value}
                best = (value, model.scorer().scores(np.arange(shape[0])).numpy(), chosen)
        assert best is not None
        scores = best[1]
        results[name] = {"all": per_user(scores, table, None), "rare": per_user(scores, table, rare)} | best[
            2
        ]
    return results


def coat(folder: Path, seeds: int) -> dict[str, Any]:
    """Means over seeds, and paired differences to the naive loss."""
    store, rows = make_store("coat", folder), []
    for seed in range(seeds):
        rows.append(coat_seed(store, seed))
        print(seed, {name: round(one["rare"]["dcg@5"], 4) for name, one in rows[-1].items()}, flush=True)
    found: dict[str, Any] = {}
    for part in ("all", "rare"):
        for metric in rows[0]["naive"][part]:
            cells = found.setdefault(part, {}).setdefault(metric, {})
            for name in rows[0]:
                values = [row[name][part][metric] for row in rows]
                cells[name] = interval(values)
                if name not in {"naive", "popularity"} and metric != "users":
                    base = [row["naive"][part][metric] for row in rows]
                    cells[name]["minus naive"] = interval([a - b for a, b in zip(values, base, strict=True)])
    chosen = {
        name: [{key: row[name][key] for key in ("l2", "epoch", "held_out")} for row in rows]
        for name in ("naive", "rel-mf", "clipped")
    }
    settings = COAT | {"l2": COAT_L2, "clip": COAT_CLIP}
    return {"seeds": seeds, "settings": settings, "scores": found, "chosen": chosen, "rows": rows}


def main() -> None:
    """Run the parts and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="of Coat; draws have a fifth as many")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    started, result = time.monotonic(), {}
    with tempfile.TemporaryDirectory() as name:
        for data in CLIPS:
            folder = Path(name) / data
            result[data] = [
                draws(data, folder / str(seed), seed) for seed in range(max(1, arguments.seeds // 5))
            ]
            for one in result[data]:
                print(data, {key: value for key, value in one.items() if key != "estimates"}, flush=True)
                print({key: round(x["bias_in_standard_errors"], 2) for key, x in one["estimates"].items()})
        result["coat"] = coat(Path(name), arguments.seeds)
    head = {
        "command": shlex.join(["python", "benchmarks/quality/relevance.py", *sys.argv[1:]]),
        "draws": DRAWS,
    }
    tail = {
        "total_seconds": round(time.monotonic() - started),
        "hardware": f"{platform.machine()}, 1 thread",
        "versions": {"usermodel": um.__version__, "torch": torch.__version__},
    }
    arguments.out.write_text(json.dumps(head | result | tail, indent=1) + "\n")


if __name__ == "__main__":
    main()
