"""CML with item features: can articles that nobody has taken yet be recommended by their tags?

    python benchmarks/quality/new_items.py --out benchmarks/results/new_items.json

CiteULike-a. A seed hides a tenth of the articles from training, with all who took them. Users and the other articles are trained as
points of a ball (collaborative metric learning), with tags pulling articles to where a small network places them; hidden articles are
then put at their places. Each user who took a hidden article ranks the hidden ones: recall@50, by the side of chance. Control: the
same with the tags of all articles shuffled. Settings are those of the released code with features (margin 2, ball of radius 1.1, 20
draws, AdaGrad at 0.1, dropout 0.2), with batches of 8,192 pairs and 100 numbers a vector; nothing is tuned. Tags of fewer than five
articles are left out. Data: $USERMODEL_DATA_DIR. Writes one JSON object; a stopped command goes on.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cells
import numpy as np
import polars as pl
import torch
from metric_learning import TOP, recall
from seeds import interval

from usermodel.baselines.fit import FitConfig, fit
from usermodel.baselines.interactions import Interactions
from usermodel.baselines.item_feature_map import ItemFeatureMap
from usermodel.baselines.metric_learning import MetricHinge, MetricLearning
from usermodel.encoders.catalogue import read_item_features
from usermodel.events.data_sets import read_data_set
from usermodel.negatives.uniform import Uniform
from usermodel.nn.inputs import ItemInputsConfig
from usermodel.nn.item_features import ItemFeature
from usermodel.store.build import build_store
from usermodel.store.sequence_store import SequenceStore

HIDDEN, MIN_ARTICLES = 0.1, 5
VARIANTS = ("tags", "shuffled tags")
MODEL = {"dim": 100, "radius": 1.1}
LOSS = {"n_negatives": 20, "margin": 2.0, "pull": 1.0}
FIT = {"epochs": 20, "batch_pairs": 8192, "learning_rate": 0.1, "optimiser": "adagrad"}


def open_store(folder: Path, work: Path) -> tuple[SequenceStore, ItemFeature]:
    """The pairs as a store, and the tags of its articles that enough of them have."""
    prepared = read_data_set("citeulike-a", folder)
    assert prepared.tables.items is not None
    tags = prepared.tables.items.explode("tags").filter(pl.len().over("tags") >= MIN_ARTICLES)
    lists = tags.group_by("item_id", maintain_order=True).agg("tags")
    store = build_store(prepared.log, work / "store", items_table=lists)
    return store, read_item_features(store, ItemInputsConfig(item_features=("tags",)))[0]


def shuffled(tags: ItemFeature, seed: int) -> ItemFeature:
    """The tags of each article given to another one."""
    assert tags.values is not None
    order = np.append(0, np.random.default_rng(seed).permutation(len(tags.values) - 1) + 1)
    return replace(tags, values=tags.values[torch.from_numpy(order)])


def cell(variant: str, seed: int) -> dict[str, Any]:
    """Train with one seed, and rank what was hidden."""
    with tempfile.TemporaryDirectory() as name:
        store, tags = open_store(Path(os.environ["USERMODEL_DATA_DIR"]) / "citeulike-a", Path(name))
        user = np.repeat(np.arange(store.n_users), np.diff(store.offsets))
        item = store.items.astype(np.int64)
    rng = np.random.default_rng(seed)
    new = np.sort(rng.permutation(store.n_items)[: int(HIDDEN * store.n_items)]) + 1
    hidden = np.isin(item, new)
    pairs = Interactions.from_arrays(
        user[~hidden], item[~hidden], n_users=store.n_users, n_items=store.n_items
    )
    torch.manual_seed(seed)
    model = MetricLearning(store.n_users, store.n_items, **MODEL)
    own = tags if variant == "tags" else shuffled(tags, seed)
    places = ItemFeatureMap([own], store.n_items, **MODEL)
    loss = MetricHinge(store.n_items, features=places, **LOSS)
    started = time.monotonic()
    fit(model, pairs, loss, Uniform(store.n_items, shared=False), FitConfig(**FIT, seed=seed))
    seconds = time.monotonic() - started
    places.place_new(model, pairs)
    wanted = np.zeros((store.n_users, len(new)), dtype=bool)
    wanted[user[hidden], np.searchsorted(new, item[hidden])] = True
    scores = model.scorer().scores(np.arange(store.n_users)).numpy()[:, new - 1]
    return {
        "variant": variant,
        "seed": seed,
        "seconds": round(seconds, 1),
        "hidden_articles": len(new),
        "hidden_pairs": int(wanted.sum()),
        "tags": own.size,
        f"recall@{TOP}": recall(scores, np.zeros_like(wanted), wanted),
        "chance": TOP / len(new),
    }


def main() -> None:
    """Run the cells that the result does not have."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="runs at once, of one thread each")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    facts = {"data": "CiteULike-a", "settings": {"model": MODEL, "loss": LOSS, "fit": FIT}}
    found = cells.before(arguments.out, facts)
    there = {(one["variant"], one["seed"]) for one in found}
    asked = [(variant, seed) for seed in range(arguments.seeds) for variant in VARIANTS]
    for one in cells.each(arguments.jobs, cell, [key for key in asked if key not in there]):
        found = sorted([*found, one], key=lambda one: (one["seed"], one["variant"]))
        values = {
            name: [row[f"recall@{TOP}"] for row in found if row["variant"] == name] for name in VARIANTS
        }
        scores = {name: interval(values[name]) for name in VARIANTS if values[name]}
        result = facts | {f"recall@{TOP}": scores, "cells": found} | cells.machine(arguments.jobs)
        cells.write(arguments.out, result)
        print(one, flush=True)


if __name__ == "__main__":
    main()
