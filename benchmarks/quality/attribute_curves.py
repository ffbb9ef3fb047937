"""How many labelled users does it take? Probes of frozen vectors by the number of labels, beside what needs no encoder.

    python benchmarks/quality/attribute_curves.py --data movielens-1m --out benchmarks/results/attribute_curves_movielens-1m.json

``next-item``: user vectors of the recipe next-item-fast. ``no pretraining``: of the same encoder as it begins. ``mean of items``: the mean of
the item vectors of as many of the latest events as the encoder reads, by its own table. ``bag of items``: 64 singular vectors of the matrix of
users and items, whose entries are weighted by how rare the item is. ``statistics``: `usermodel.baselines.history_statistics`. All are probed alike, over the same five
parts. For the simulator ``law``: the probabilities that the attribute was drawn from, the best there is; ``reached`` is the share of the way from chance to
it. Data: $USERMODEL_DATA_DIR. Writes one JSON object: means and 95 % intervals over seeds (Student's t) of encoders and parts. A stopped command goes on.
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
from numpy import ndarray
from scipy.sparse import csr_array
from scipy.sparse.linalg import svds
from seeds import interval

import usermodel as um
from usermodel.baselines.history_statistics import HistoryStatistics
from usermodel.baselines.mean_of_items import mean_of_items
from usermodel.baselines.untrained import untrained
from usermodel.embedding_table import EmbeddingTable
from usermodel.embeddings.user_encoder import UserEncoder
from usermodel.errors import DataError
from usermodel.events.data_sets import read_data_set
from usermodel.events.simulate import SimulateConfig, simulate
from usermodel.events.simulate_users import DEVICES, REGIONS
from usermodel.metrics.classification import measure
from usermodel.recipes.catalog import find
from usermodel.sampling.protocol import Examples
from usermodel.store.attributes import read_attribute
from usermodel.store.build import build_store
from usermodel.store.sequence_store import SequenceStore
from usermodel.tasks.user_attribute import Scale, UserAttribute
from usermodel.training.pretrain import pretrain
from usermodel.training.recipe import Recipe

#: Folder below the data folder; columns of the users table and what they are; the metric of each scale is `METRIC`.
DATA: dict[str, tuple[str, dict[str, Scale]]] = {
    "movielens-1m": ("ml-1m", {"gender": "nominal", "age": "ordinal", "occupation": "nominal"}),
    "movielens-100k": ("ml-100k", {"gender": "nominal", "age": "number", "occupation": "nominal"}),
    "tenrec": ("tenrec-qba-age", {"age_group": "ordinal"}),
    "kuairand": (
        "kuairand27k-likehate15",
        {"user_active_degree": "nominal", "follow_user_num_range": "nominal"},
    ),
    "simulator": ("", {"device": "nominal", "region": "nominal", "age_band": "ordinal"}),
}
METRIC = {"nominal": "auc", "ordinal": "kappa", "number": "r2"}
NAMES = {
    "movielens-1m": "movielens-1m",
    "movielens-100k": "movielens-100k",
    "tenrec": "tenrec",
    "kuairand": "kuairand-27k",
}
LABELLED = (50, 200, 1000, None)
WIDTH = 64
LAWS = {"device": "p_device", "region": "p_region"}
VALUES = {"device": DEVICES, "region": REGIONS}


def make_store(data: str, folder: Path) -> SequenceStore:
    """The store of a set, with what is known of its users."""
    if not DATA[data][0]:
        logs = simulate(SimulateConfig(), folder / "logs")
        return build_store(
            um.read_events(logs / "events.parquet"), folder / "store", users_table=logs / "users.parquet"
        )
    prepared = read_data_set(NAMES[data], Path(os.environ["USERMODEL_DATA_DIR"]) / DATA[data][0])
    return build_store(prepared.log, folder / "store", users_table=prepared.tables.users)


def recipe(seed: int) -> Recipe:
    """The pretraining of a seed."""
    return find("next-item-fast").override({"training.seed": seed, "training.max_epochs": 30})


def vectors_of(store: SequenceStore, seed: int) -> dict[str, ndarray]:
    """Everything that is probed, a row a user."""
    with tempfile.TemporaryDirectory() as name:
        run = pretrain(store, recipe(seed), Path(name) / "run")
        encoder = UserEncoder.load(run)
        known = {
            "no pretraining": untrained(run, encoder),
            "next-item": encoder,
            "mean of items": mean_of_items(encoder),
        }
        found = {title: np.asarray(one.encode(store).vectors) for title, one in known.items()}
    user = np.repeat(np.arange(store.n_users), np.diff(store.offsets))
    shape = (store.n_users, store.n_items + 1)
    matrix = csr_array((np.ones(store.n_events), (user, store.items)), shape=shape)
    rare = np.log(store.n_users / (1 + np.asarray((matrix > 0).sum(0)).ravel()))
    weighted = csr_array(matrix.multiply(rare))
    left, values, _ = svds(weighted / np.sqrt(np.diff(store.offsets))[:, None], k=WIDTH, random_state=seed)
    whole = Examples.histories(store, np.arange(store.n_users), store.offsets[1:], store.n_events)
    statistics = HistoryStatistics.fit(store, store.split()).vectors(store, whole)
    return found | {"bag of items": left * values, "statistics": statistics}


def cell(data: str, path: str, seed: int) -> dict[str, Any]:
    """Pretrain with one seed and probe everything."""
    store = SequenceStore.open(path)
    scores: dict[str, float] = {}
    for title, vectors in vectors_of(store, seed).items():
        table = EmbeddingTable(store.users.ids, np.ascontiguousarray(vectors, dtype=np.float32), title)
        for label, scale in DATA[data][1].items():
            for labelled in LABELLED:
                task = UserAttribute(label, seed=seed, labelled=labelled, scale=scale)
                try:
                    rows = task.score(table, store)
                except DataError:
                    # Too few labels of a rare class.
                    continue
                value = next(one.value for one in rows if one.metric == f"{label}/{METRIC[scale]}")
                scores[f"{label}/{METRIC[scale]}, {labelled or 'all'} labels, {title}"] = value
    return {"seed": seed, "scores": scores}


def laws(store: SequenceStore, truth: Path) -> dict[str, float]:
    """AUC of the laws that attributes were drawn from."""
    table = pl.DataFrame({"user_id": store.users.ids}).join(
        pl.read_parquet(truth), on="user_id", how="left", maintain_order="left"
    )
    best = {}
    for label, column in LAWS.items():
        known = read_attribute(store, label)
        law = np.array(table[column].to_list())
        order = [VALUES[label].index(value) for value in known.classes]
        best[f"{label}/auc"] = measure(law[known.user][:, order], known.code)["auc"].value
    return best


def main() -> None:
    """Run the seeds that the result does not have."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", choices=sorted(DATA), required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2, help="runs at once, of one thread each")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    vectors = {"recipe": recipe(0).to_dict(), "statistics and means": "usermodel.baselines"}
    facts: dict[str, Any] = {"data": arguments.data, "labels": DATA[arguments.data][1], "vectors": vectors}
    found = cells.before(arguments.out, facts)
    there = {one["seed"] for one in found}
    with tempfile.TemporaryDirectory() as name:
        store = make_store(arguments.data, Path(name))
        best = laws(store, Path(name) / "logs/truth/users.parquet") if arguments.data == "simulator" else {}
        asked = [
            (arguments.data, str(store.path), seed) for seed in range(arguments.seeds) if seed not in there
        ]
        for one in cells.each(arguments.jobs, cell, asked):
            found = sorted([*found, one], key=lambda one: one["seed"])
            names = list(found[0]["scores"])
            scores = {
                title: interval([run["scores"][title] for run in found if title in run["scores"]])
                for title in names
            }
            for title, row in scores.items():
                law = best.get(title.partition(",")[0])
                if law is not None:
                    row["reached"] = (row["mean"] - 0.5) / (law - 0.5)
            result = facts | {"law": best, "scores": scores, "cells": found} | cells.machine(arguments.jobs)
            cells.write(arguments.out, result)
            print(one["seed"], {title: round(value, 3) for title, value in one["scores"].items()}, flush=True)


if __name__ == "__main__":
    main()
