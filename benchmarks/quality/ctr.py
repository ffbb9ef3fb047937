"""Clicks: all heads, few and many labels, with the pretrained vector of the user before each row and without, and tables of several sizes.

    python benchmarks/quality/ctr.py --data movielens-100k --out benchmarks/results/ctr_movielens-100k.json

``movielens-100k``: stars >= 4, split by time. ``movielens-1m``: stars >= 3 (the set at hand says no more), each user's events split in
their order. ``kuairand``: clicks of 41,828 exposures with a like or a hate, so of people with an opinion, split by time. ``simulator``:
what was shown beside 300,000 simulated events, split by time. Parts are 80 : 10 : 10. Features are user and item, and the hour where
there are times; `din` and `target-attention` also read the last 20 items. All heads have their defaults and the same trainer, which
stops by AUC on the validation part; nothing is tuned for a head. Vectors are those of ``next-item-fast``, trained on the same training
part with the same seed. Tables: `deepfm` with hashed rows of one table for all fields, as many numbers as a share of the full one.
Data: $USERMODEL_DATA_DIR. Writes one JSON object: means and 95 % intervals over seeds (Student's t), and of differences seed by seed to
logistic regression, and to the same without vectors or with a full table. A stopped command goes on.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cells
import numpy as np
import polars as pl
from seeds import compare

import usermodel as um
from usermodel.embeddings.user_encoder import UserEncoder
from usermodel.encoders.encode import encode
from usermodel.events.data_sets import read_data_set
from usermodel.events.simulate import SimulateConfig, simulate
from usermodel.events.splits import GlobalTimeConfig, SplitConfig, UserRatioConfig
from usermodel.heads.catalog import heads_of
from usermodel.heads.ctr import CtrConfig
from usermodel.nn.item_table import HashedItemsConfig
from usermodel.recipes.catalog import find
from usermodel.store.build import build_store
from usermodel.store.sequence_store import SequenceStore
from usermodel.tasks.ctr import Ctr
from usermodel.tasks.row_features import RowFeatures
from usermodel.training.fit_rows import FitRowsConfig
from usermodel.training.pretrain import pretrain

METRICS = ("auc", "gauc", "logloss", "ece")
SIMULATED = SimulateConfig(n_users=6_000, n_items=2_000, n_events=300_000)
BY_TIME = ("user_id", "item_id", "hour")
ENCODER = {"training.max_epochs": 20}
PLAIN, WITH = "logistic-regression", ", with vectors"
#: Heads whose labels become few and many.
CURVES = (PLAIN, "deepfm", "din")
SHARES = (0.01, 0.1)
BUDGETS = (1.0, 0.5, 0.1)


@dataclass(frozen=True)
class Data:
    """What is predicted on a set."""

    label: str
    split: SplitConfig
    features: tuple[str, ...] = BY_TIME

    def task(self, model: CtrConfig, share: float, seed: int) -> Ctr:
        """With a head, a share of the labels and a seed."""
        fit = FitRowsConfig(seed=seed)
        return Ctr(
            model=model,
            fit=fit,
            label=self.label,
            split=self.split,
            features=self.features,
            train_share=share,
        )


DATA = {
    "movielens-100k": Data("rating>=4", GlobalTimeConfig()),
    "movielens-1m": Data("rating>=1", UserRatioConfig(), ("user_id", "item_id")),
    "kuairand": Data("value", GlobalTimeConfig()),
    "simulator": Data("clicked", GlobalTimeConfig()),
}


def kuairand_clicks(place: Path) -> pl.DataFrame:
    """A label for each exposure: whether it was clicked."""
    rows = pl.read_csv(place / "processed_standard_kcore_15.tsv.gz", separator="\t", infer_schema=False)
    return rows.select(
        "user_id",
        (pl.col("time_ms").cast(pl.Int64) * 1000).alias("prediction_time"),
        pl.col("video_id").alias("item_id"),
        pl.col("is_click").cast(pl.Float64).alias("value"),
    )


def make_store(data: str, folder: Path) -> SequenceStore:
    """The store of a set."""
    root = Path(os.environ["USERMODEL_DATA_DIR"])
    if data == "movielens-100k":
        return build_store(read_data_set(data, root / "ml-100k").log, folder / "store")
    if data == "movielens-1m":
        frame = pl.read_csv(root / "ml-1m/ml1m_events_raw_ids.tsv.gz", separator="\t").filter(
            pl.col("rating_ge3") >= 0
        )
        names = {"user": "user_id", "item": "item_id", "pos": "timestamp", "rating_ge3": "rating"}
        frame = frame.rename(names).with_columns(pl.col("user_id", "item_id").cast(pl.String))
        return build_store(um.read_events(frame, time_unit="order", rating="rating"), folder / "store")
    if data == "kuairand":
        place = root / "kuairand27k-likehate15"
        labels = kuairand_clicks(place)
        return build_store(read_data_set("kuairand-27k", place).log, folder / "store", labels=labels)
    logs = simulate(SIMULATED, folder / "logs")
    shown = pl.read_parquet(logs / "impressions.parquet")
    return build_store(um.read_events(logs / "events.parquet"), folder / "store", impressions=shown)


def hashed(store: SequenceStore, data: Data, budget: float) -> CtrConfig:
    """DeepFM with a table of a share of the numbers of the full one; two look-ups of half the width each."""
    model = heads_of(CtrConfig)["deepfm"]()
    rows, _ = data.task(model, 1.0, 0).rows(store)
    full = sum(n + 1 for _, n in RowFeatures(data.features).fit(store, rows).shape.fields)
    return model.override({"table": HashedItemsConfig(table_rows=max(1, round(2 * budget * full)))})


def variants(store: SequenceStore, data: Data) -> dict[str, tuple[CtrConfig, float, bool]]:
    """Name -> head, share of the labels, whether with vectors."""
    heads = {name: kind() for name, kind in heads_of(CtrConfig).items()}
    found = {name: (model, 1.0, False) for name, model in heads.items()}
    for name in CURVES:
        found[name + WITH] = (heads[name], 1.0, True)
        for share in SHARES:
            title = f"{name}, {100 * share:g} % of the labels"
            found |= {title: (heads[name], share, False), title + WITH: (heads[name], share, True)}
    for budget in BUDGETS:
        found[f"deepfm, hashed to {budget:g} of the table"] = (hashed(store, data, budget), 1.0, False)
    return found


def save_vectors(path: str, data: str, seed: int, out: str) -> dict[str, Any]:
    """Pretrain on the training part and encode the history before each row."""
    store, about = SequenceStore.open(path), DATA[data]
    with tempfile.TemporaryDirectory() as name:
        recipe = find("next-item-fast").override(ENCODER | {"data.split": about.split, "training.seed": seed})
        started = time.monotonic()
        run = pretrain(store, recipe, Path(name) / "run")
        seconds = time.monotonic() - started
        module = UserEncoder.load(run).module
        requests = about.task(heads_of(CtrConfig)[PLAIN](), 1.0, 0).requests(
            store, module.max_history, module.n_items
        )
        np.save(out, encode(module, store, requests))
    return {"seed": seed, "seconds": round(seconds, 1), "epochs": run.meta["epochs"], "vectors": out}


def cell(path: str, data: str, variant: str, seed: int, vectors: str) -> dict[str, Any]:
    """Train and score one variant with one seed."""
    store, epochs, size = SequenceStore.open(path), [], []
    model, share, has_vectors = variants(store, DATA[data])[variant]
    rows = (
        DATA[data]
        .task(model, share, seed)
        .score(
            np.load(vectors) if has_vectors else None,
            store,
            on_epoch=epochs.append,
            on_scorer=lambda scorer: size.append(scorer.n_parameters),
        )
    )
    return {
        "variant": variant,
        "seed": seed,
        "seconds": round(sum(one.seconds for one in epochs), 1),
        "epochs": len(epochs),
        "bytes": 4 * size[0],
        "rows": rows[0].n,
        "scores": {one.metric: one.value for one in rows},
    }


def others(variant: str) -> dict[str, str]:
    """What a variant is compared with."""
    found = {"minus itself without vectors": variant.removesuffix(WITH)}
    if variant in heads_of(CtrConfig):
        found[f"minus {PLAIN}"] = PLAIN
    if "hashed" in variant:
        found["minus the full table"] = "deepfm"
    return found


def main() -> None:
    """Run the cells that the result does not have."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", choices=sorted(DATA), required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2, help="runs at once, of one thread each")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    about = DATA[arguments.data]
    facts = {"data": arguments.data, "label": about.label, "features": list(about.features),
             "split": about.split.to_dict(), "fit": FitRowsConfig().to_dict()}  # fmt: skip
    found = cells.before(arguments.out, facts)
    there = {(one["variant"], one["seed"]) for one in found}
    with tempfile.TemporaryDirectory() as name:
        store = make_store(arguments.data, Path(name))
        path, order = str(store.path), list(variants(store, about))
        todo = [(one, seed) for seed in range(arguments.seeds) for one in order if (one, seed) not in there]
        seeds = sorted({seed for one, seed in todo if WITH in one})
        asked = [(path, arguments.data, seed, f"{name}/{seed}.npy") for seed in seeds]
        for one in cells.each(arguments.jobs, save_vectors, asked):
            print("vectors", one, flush=True)
        runs = [(path, arguments.data, variant, seed, f"{name}/{seed}.npy") for variant, seed in todo]
        for number, one in enumerate(cells.each(arguments.jobs, cell, runs), start=1):
            found = sorted([*found, one], key=lambda one: (order.index(one["variant"]), one["seed"]))
            result = (
                facts
                | {"scores": compare(found, METRICS, others), "cells": found}
                | cells.machine(arguments.jobs)
            )
            cells.write(arguments.out, result)
            scores = {metric: round(one["scores"][metric], 4) for metric in METRICS}
            print(f"{number}/{len(todo)}", one["variant"], one["seed"], one["seconds"], scores, flush=True)


if __name__ == "__main__":
    main()
