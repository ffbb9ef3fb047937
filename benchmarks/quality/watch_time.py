"""Watch time, all heads in one table: with the pretrained vector of the user before each event, and without.

    python benchmarks/quality/watch_time.py --data kuairand --out benchmarks/results/watch_time_kuairand.json

``kuairand``: an excerpt of KuaiRand-27K, 41,828 exposures with a like or a hate: play times are conditional on an opinion. ``simulator``:
a million simulated events, of which ``expected`` is the best guess there is, that of the simulator itself. Split by time, 80 : 10 : 10.
``kuairec``, for whoever has its files in ``kuairec`` below the data folder: trained on the sparse log, tested on the full matrix, as is
published; its watch ratios are the target.
All heads have the same inputs (user, item, duration, hour), the same perceptron and the same trainer, which stops by XAUC on the
validation part; nothing is tuned for a head. Vectors are those of ``next-item-fast``, trained on the same training part with the same
seed. Watch times are in seconds; XAUC leaves pairs of equal labels out and counts equal guesses one half. Data: $USERMODEL_DATA_DIR.
Writes one JSON object: means and 95 % intervals over seeds (Student's t), and of differences to value regression and to the same head
without vectors, seed by seed. A stopped command goes on.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
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
from usermodel.events.splits import GlobalTimeConfig
from usermodel.heads.cread import CreadConfig
from usermodel.heads.d2q import D2qConfig
from usermodel.heads.generative_regression import GenerativeRegressionConfig
from usermodel.heads.tpm import TpmConfig
from usermodel.heads.value_regression import ValueRegressionConfig
from usermodel.heads.watch_time_model import CMixupConfig, WatchTimeModelConfig
from usermodel.heads.wlr import WlrConfig
from usermodel.metrics.watch_time import measure
from usermodel.recipes.catalog import find
from usermodel.store.build import build_store
from usermodel.store.sequence_store import SequenceStore
from usermodel.tasks.watch_time import WatchTime
from usermodel.training.fit_rows import FitRowsConfig
from usermodel.training.pretrain import pretrain

METRICS = ("xauc", "mae", "rmse", "bias", "quantile_calibration")
FEATURES = ("user_id", "item_id", "duration", "hour")
FIT = FitRowsConfig()
SIMULATED = SimulateConfig(n_users=20_000, n_items=5_000, n_events=1_000_000)
PLAIN = "value regression"
#: The published decoder has width 128 and three layers, which takes hours on a processor.
DECODER = GenerativeRegressionConfig(dim=32, heads=4, layers=1, hidden=64)
HEADS: dict[str, WatchTimeModelConfig] = {
    PLAIN: WatchTimeModelConfig(),
    "value regression, huber": WatchTimeModelConfig(head=ValueRegressionConfig(loss="huber")),
    "value regression, log": WatchTimeModelConfig(head=ValueRegressionConfig(loss="log")),
    "value regression, c-mixup": WatchTimeModelConfig(mixup=CMixupConfig()),
    "wlr": WatchTimeModelConfig(head=WlrConfig()),
    "d2q": WatchTimeModelConfig(head=D2qConfig()),
    "tpm": WatchTimeModelConfig(head=TpmConfig()),
    "cread": WatchTimeModelConfig(head=CreadConfig()),
    "generative regression, small": WatchTimeModelConfig(head=DECODER),
}
#: What published protocols ask for beside the defaults.
PROTOCOL: dict[str, dict[str, Any]] = {"kuairec": {"target": "ratio", "test": "labels"}}
WITH = ", with vectors"
ENCODER = {"data.split": GlobalTimeConfig(), "training.max_epochs": 20}


def make_store(data: str, folder: Path) -> tuple[SequenceStore, pl.DataFrame | None]:
    """The store, and for simulated events the best guesses."""
    if data == "kuairand":
        source = Path(os.environ["USERMODEL_DATA_DIR"]) / "kuairand27k-likehate15"
        return build_store(read_data_set("kuairand-27k", source).log, folder / "store"), None
    if data == "kuairec":
        prepared = read_data_set(data, Path(os.environ["USERMODEL_DATA_DIR"]) / data)
        return build_store(prepared.log, folder / "store", labels=prepared.tables.labels), None
    logs = simulate(SIMULATED, folder / "logs")
    log = um.read_events(logs / "events.parquet", watch_time="watch_time_ms", duration="duration_ms")
    shown = pl.read_parquet(logs / "impressions.parquet")
    truth = pl.read_parquet(logs / "truth" / "impressions.parquet").select("expected_watch_time_ms")
    return build_store(log, folder / "store"), pl.concat([shown, truth], how="horizontal")


def save_vectors(path: str, data: str, seed: int, out: str) -> dict[str, Any]:
    """Pretrain on the training part and encode the history before each row."""
    store = SequenceStore.open(path)
    with tempfile.TemporaryDirectory() as name:
        recipe = find("next-item-fast").override(ENCODER | {"training.seed": seed})
        started = time.monotonic()
        run = pretrain(store, recipe, Path(name) / "run")
        seconds = time.monotonic() - started
        module = UserEncoder.load(run).module
        task = WatchTime(features=FEATURES, **PROTOCOL.get(data, {}))
        requests = task.requests(store, module.max_history, module.n_items)
        np.save(out, encode(module, store, requests))
    return {"seed": seed, "seconds": round(seconds, 1), "epochs": run.meta["epochs"], "vectors": out}


def cell(path: str, data: str, head: str, seed: int, vectors: str | None) -> dict[str, Any]:
    """Train and score one head with one seed."""
    store, epochs = SequenceStore.open(path), []
    fit = FIT.override({"seed": seed})
    task = WatchTime(model=HEADS[head], fit=fit, features=FEATURES, **PROTOCOL.get(data, {}))
    rows = task.score(None if vectors is None else np.load(vectors), store, on_epoch=epochs.append)
    whole = {one.metric: one.value for one in rows if not one.by}
    by = {f"{one.metric}, {one.group}": one.value for one in rows if one.by}
    return {
        "variant": head + ("" if vectors is None else WITH),
        "seed": seed,
        "seconds": round(sum(one.seconds for one in epochs), 1),
        "epochs": len(epochs),
        "scores": whole,
        "by_duration": by,
    }


def best_guess(store: SequenceStore, truth: pl.DataFrame) -> dict[str, float]:
    """What the simulator itself expects of the test rows: the mean over its own chance."""
    task = WatchTime(features=FEATURES)
    rows = task.rows(store)
    test = rows.of("test")
    label, _ = task.labels(store, rows)
    keys = {
        "user_id": store.users.decode(rows.user[test] + 1),
        "item_id": store.vocabulary.decode(store.items[rows.place[test]]),
        "timestamp": np.asarray(store.times)[rows.place[test]],
    }
    known = truth.filter(pl.col("clicked")).with_columns(pl.col("timestamp").cast(pl.Int64))
    known = known.unique(list(keys), keep="first", maintain_order=True)
    joined = pl.DataFrame(keys).join(known, on=list(keys), how="left", maintain_order="left")
    guess = joined["expected_watch_time_ms"].cast(pl.Float64).to_numpy() / 1000
    return {name: one.value for name, one in measure(guess, label[test]).items()}


def others(variant: str) -> dict[str, str]:
    """What a variant is compared with."""
    plain = PLAIN + (WITH if variant.endswith(WITH) else "")
    return {f"minus {PLAIN}": plain, "minus itself without vectors": variant.removesuffix(WITH)}


def main() -> None:
    """Run the cells that the result does not have."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", choices=("kuairand", "simulator", "kuairec"), required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", action="append", choices=HEADS, help="heads to run; all unless given")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once, of one thread each")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    heads = {name: model.to_dict() for name, model in HEADS.items()}
    facts = {"data": arguments.data, "features": list(FEATURES), "fit": FIT.to_dict(), "heads": heads}
    found = cells.before(arguments.out, facts)
    there = {(one["variant"], one["seed"]) for one in found}
    names = arguments.only or list(HEADS)
    asked = [(head, seed, extra) for seed in range(arguments.seeds) for head in names for extra in ("", WITH)]
    todo = [one for one in asked if (one[0] + one[2], one[1]) not in there]
    order = [head + extra for head in HEADS for extra in ("", WITH)]
    with tempfile.TemporaryDirectory() as name:
        store, truth = make_store(arguments.data, Path(name))
        if truth is not None:
            facts["expected"] = best_guess(store, truth)
        path = str(store.path)
        seeds = sorted({seed for _, seed, extra in todo if extra})
        asked_vectors = [(path, arguments.data, seed, f"{name}/{seed}.npy") for seed in seeds]
        for one in cells.each(arguments.jobs, save_vectors, asked_vectors):
            print("vectors", one, flush=True)
        runs = [
            (path, arguments.data, head, seed, f"{name}/{seed}.npy" if extra else None)
            for head, seed, extra in todo
        ]
        for number, one in enumerate(cells.each(arguments.jobs, cell, runs), start=1):
            found = sorted([*found, one], key=lambda one: (order.index(one["variant"]), one["seed"]))
            result = (
                facts
                | {"scores": compare(found, METRICS, others), "cells": found}
                | cells.machine(arguments.jobs)
            )
            cells.write(arguments.out, result)
            scores = {metric: round(value, 4) for metric, value in one["scores"].items()}
            print(f"{number}/{len(todo)}", one["variant"], one["seed"], one["seconds"], scores, flush=True)


if __name__ == "__main__":
    main()
