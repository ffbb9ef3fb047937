"""How many labelled users does it take? Probes of frozen vectors by the number of labels, beside what needs no encoder.

    python benchmarks/quality/attribute_curves.py --data movielens-1m --out benchmarks/results/attribute_curves_movielens-1m.json

``next-item``: user vectors of the recipe next-item-fast. ``no pretraining``: of the same encoder as it begins. ``mean of items``: the mean of
the item vectors of each user's history, by the pretrained encoder's table. ``bag of items``: 64 singular vectors of the matrix of users and
items, whose entries are weighted by how rare the item is. ``statistics``: length of the history, mean and spread of the logarithm of how often
its items are taken, share of the user's most frequent hour, and days between first and last event (where there are times). All are probed alike, over the same five
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
import torch
from numpy import ndarray
from scipy.sparse import csr_array
from scipy.sparse.linalg import svds
from seeds import interval

import usermodel as um
from usermodel.embedding_table import EmbeddingTable
from usermodel.embeddings.user_encoder import UserEncoder
from usermodel.encoders import io
from usermodel.errors import DataError
from usermodel.events.data_sets import read_data_set
from usermodel.events.simulate import SimulateConfig, simulate
from usermodel.events.simulate_users import DEVICES, REGIONS
from usermodel.metrics.classification import measure
from usermodel.recipes.catalog import find
from usermodel.store.attributes import read_attribute
from usermodel.store.build import build_store
from usermodel.store.sequence_store import SequenceStore
from usermodel.tasks.user_attribute import Scale, UserAttribute
from usermodel.training.pretrain import pretrain

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
WIDTH, DAY, HOUR = 64, 86_400_000_000, 3_600_000_000
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


def vectors_of(store: SequenceStore, seed: int) -> dict[str, ndarray]:
    """Everything that is probed, a row a user."""
    recipe = find("next-item-fast").override({"training.seed": seed, "training.max_epochs": 30})
    found: dict[str, ndarray] = {}
    with tempfile.TemporaryDirectory() as name:
        torch.manual_seed(seed)
        io.save(Path(name) / "first", recipe.encoder.build_on(store), recipe.encoder, store.vocabulary)
        pretrain(store, recipe, Path(name) / "run")
        for title, place in (("no pretraining", "first"), ("next-item", "run")):
            encoder = UserEncoder.load(Path(name) / place)
            found[title] = np.asarray(encoder.encode(store).vectors)
        with torch.no_grad():
            items = np.concatenate([np.zeros((1, encoder.module.dim)), encoder.module.item_vectors().numpy()])
    user = np.repeat(np.arange(store.n_users), np.diff(store.offsets))
    matrix = csr_array(
        (np.ones(store.n_events), (user, store.items)), shape=(store.n_users, store.n_items + 1)
    )
    length = np.diff(store.offsets)[:, None]
    found["mean of items"] = (matrix @ items) / length
    rare = np.log(store.n_users / (1 + np.asarray((matrix > 0).sum(0)).ravel()))
    weighted = csr_array(matrix.multiply(rare))
    left, values, _ = svds(weighted / np.sqrt(length), k=WIDTH, random_state=seed)
    found["bag of items"] = left * values
    return found | {"statistics": statistics(store, matrix)}


def statistics(store: SequenceStore, matrix: csr_array) -> ndarray:
    """What is known without looking at which items they are."""
    length = np.diff(store.offsets).astype(np.float64)
    taken = np.log(np.maximum(np.bincount(store.items, minlength=store.n_items + 1), 1))
    mean = (matrix @ taken) / length
    spread = np.sqrt(np.maximum((matrix @ taken**2) / length - mean**2, 0))
    columns = [np.log(length), mean, spread]
    if store.time_kind == "utc":
        times = np.asarray(store.times)
        user = np.repeat(np.arange(store.n_users), np.diff(store.offsets))
        hours = np.zeros((store.n_users, 24))
        np.add.at(hours, (user, times // HOUR % 24), 1)
        columns += [
            hours.max(1) / length,
            np.log1p((times[store.offsets[1:] - 1] - times[store.offsets[:-1]]) / DAY),
        ]
    return np.column_stack(columns)


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
    facts: dict[str, Any] = {"data": arguments.data, "labels": DATA[arguments.data][1]}
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
