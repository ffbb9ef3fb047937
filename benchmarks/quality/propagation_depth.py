"""What neighbours add to matrix factorisation: LightGCN with 0, 1 and 3 layers on Last.fm, several seeds.

    python benchmarks/quality/propagation_depth.py --out benchmarks/results/propagation_depth.json

Who listened to whom, without play counts. A seed shuffles each user's artists and holds out the last 20 % for the test and the 10 %
before for validation, whose recall@20 alone decides which epoch is taken and when to stop. LightGCN's loss and batches (BPR, one uniform
negative, 2,048 pairs, penalty 1e-4), with a learning rate of 5e-3 in place of 1e-3 so that fewer epochs do; with 0 layers it is matrix
factorisation. Expected of the paper: more layers are better, up to 3. Data: $USERMODEL_DATA_DIR. Writes one JSON object; a stopped
command goes on.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import cells
import numpy as np
import polars as pl
import torch
from seeds import interval

from usermodel.baselines.factors import FactorModel
from usermodel.baselines.fit import FitConfig, fit
from usermodel.baselines.interactions import Interactions
from usermodel.baselines.light_gcn import LightGcn
from usermodel.baselines.pair_losses import Bpr
from usermodel.events.data_sets import read_data_set
from usermodel.events.readers import read_events
from usermodel.events.splits import UserRatioConfig
from usermodel.negatives.uniform import Uniform
from usermodel.store.build import build_store
from usermodel.tasks.held_out_items import HeldOutItems

LAYERS = (0, 1, 3)
METRICS = ("recall@20", "ndcg@20")
SPLIT = UserRatioConfig(valid=0.1, test=0.2)
FIT = {"epochs": 500, "learning_rate": 5e-3, "l2": 1e-4, "validate_every": 5, "patience": 10}


def cell(layers: int, seed: int) -> dict[str, Any]:
    """Train and score one depth with one seed."""
    prepared = read_data_set("lastfm", Path(os.environ["USERMODEL_DATA_DIR"]) / "lastfm-kgcn")
    events = prepared.log.scan().select("user_id", "item_id").collect()
    events = events[np.random.default_rng(seed).permutation(len(events))]
    log = read_events(events.with_columns(timestamp=pl.int_range(pl.len())), time_unit="order")
    with tempfile.TemporaryDirectory() as name:
        store = build_store(log, Path(name) / "store")
        pairs = Interactions.from_store(store, store.split(SPLIT))
        valid, test = HeldOutItems("valid", SPLIT, METRICS, "normal"), HeldOutItems("test", SPLIT, METRICS)
        labels = valid.requests(store)

        def validate(one: FactorModel) -> float:
            return valid.score(one.scorer(), store, labels)[0].value

        torch.manual_seed(seed)
        model, sampler = LightGcn(pairs, layers=layers), Uniform(store.n_items, shared=False)
        done = fit(model, pairs, Bpr(), sampler, FitConfig(**FIT, seed=seed), validate=validate)
        rows = test.score(model.scorer(), store, test.requests(store))
    return {
        "layers": layers,
        "seed": seed,
        "epoch": done.best_epoch,
        "seconds": round(done.seconds, 1),
        "scores": {row.metric: row.value for row in rows},
    }


def summarise(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Every metric over seeds by depth, and its difference to the depth before, seed by seed."""
    by = {(one["layers"], one["seed"]): one["scores"] for one in found}
    summary: dict[str, Any] = {}
    for place, layers in enumerate(LAYERS):
        seeds = sorted(seed for depth, seed in by if depth == layers)
        for metric in METRICS if seeds else ():
            row = interval([by[layers, seed][metric] for seed in seeds])
            both = [seed for seed in seeds if place and (LAYERS[place - 1], seed) in by]
            if both:
                minus = [by[layers, seed][metric] - by[LAYERS[place - 1], seed][metric] for seed in both]
                row[f"minus {LAYERS[place - 1]} layers"] = interval(minus)
            summary.setdefault(f"{layers} layers", {})[metric] = row
    return summary


def main() -> None:
    """Run the cells that the result does not have."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2, help="runs at once, of one thread each")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    facts = {"data": "Last.fm (HetRec 2011)", "split": SPLIT.to_dict(), "fit": FIT}
    found = cells.before(arguments.out, facts)
    there = {(one["layers"], one["seed"]) for one in found}
    asked = [(layers, seed) for seed in range(arguments.seeds) for layers in LAYERS]
    for one in cells.each(arguments.jobs, cell, [key for key in asked if key not in there]):
        found = sorted([*found, one], key=lambda one: (one["seed"], one["layers"]))
        result = facts | {"scores": summarise(found), "cells": found} | cells.machine(arguments.jobs)
        cells.write(arguments.out, result)
        print(one, flush=True)


if __name__ == "__main__":
    main()
