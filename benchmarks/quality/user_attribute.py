"""What frozen user vectors tell about users, by pretraining objective: a linear probe on vectors of several seeds.

    python benchmarks/quality/user_attribute.py --data movielens-1m --out benchmarks/results/user_attribute_movielens_1m.json

Every variant is the recipe of its name, cut to the same number of optimiser steps, with the same batch of users, width, length of
history and learning rate; what runs in stages shares the steps among them. Nothing is tuned, and labels are only seen by the
probe, which is cross-validated over users with the same parts for all (`usermodel.tasks.user_attribute`). Data:
$USERMODEL_DATA_DIR, or the simulator. Writes one JSON object: for each label, metric and variant the scores of the seeds, their
mean and 95 % interval (Student's t), and the mean of the paired differences to ``--reference``, with its interval. The object is
written after every run, and what it holds already is not run again: a long proof may be stopped and go on, and be extended.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cells
import polars as pl
import torch
from seeds import interval

import usermodel as um
from usermodel.embeddings.user_encoder import UserEncoder
from usermodel.encoders import io
from usermodel.events.data_sets import read_data_set
from usermodel.events.simulate import SimulateConfig, simulate
from usermodel.objectives.clue import ClueConfig
from usermodel.recipes.catalog import find
from usermodel.store.build import build_store
from usermodel.store.sequence_store import SequenceStore
from usermodel.tasks.user_attribute import UserAttribute
from usermodel.training.pretrain import pretrain
from usermodel.training.recipe import Recipe

#: Folder below the data folder, and columns of the users table.
DATA: dict[str, tuple[str, tuple[str, ...]]] = {
    "movielens-1m": ("ml-1m", ("gender", "age", "occupation")),
    "movielens-100k": ("ml-100k", ("gender", "occupation")),
    "tenrec": ("tenrec-qba-age", ("age_group",)),
    "coat": ("coat", ("gender", "age", "fashioninterest")),
    "simulator": ("", ("device", "region", "age_band")),
}
METRICS = ("auc", "macro_f1", "accuracy")
SETTINGS = {
    "encoder.max_history": 50,
    "training.batch_users": 128,
    "training.learning_rate": 1e-3,
    "training.monitor": "none",
    "training.max_epochs": 100_000,
}


def _recipe(name: str, **changes: Any) -> Recipe:
    """A recipe of the catalogue under the common settings; its stages too."""
    recipe = find(name)
    plain = {"training.schedule": "constant"} if recipe.training.schedule == "plateau" else {}
    recipe = recipe.override(plain | SETTINGS | changes)
    stages = tuple(stage.override(SETTINGS) for stage in recipe.stages)
    return recipe.model_copy(update={"stages": stages})


def _contrast_after_masks() -> Recipe:
    """InfoNCE on the views of AdaptSSR, in its place behind the same first stage."""
    return _recipe("adaptssr").model_copy(update={"objective": ClueConfig()})


VARIANTS: dict[str, Callable[[], Recipe | None]] = {
    "no pretraining": lambda: None,
    "next-item": lambda: _recipe("next-item"),
    "masked-item": lambda: _recipe("masked-item"),
    "cl4srec": lambda: _recipe("cl4srec"),
    "duorec": lambda: _recipe("duorec"),
    "clue": lambda: _recipe("clue"),
    "adaptssr": lambda: _recipe("adaptssr"),
}
ABLATIONS: dict[str, Callable[[], Recipe | None]] = {
    "adaptssr, weight 0.5": lambda: _recipe("adaptssr", **{"objective.fusion": 0.5}),
    "adaptssr, weight per sample": lambda: _recipe("adaptssr", **{"objective.fusion": "sample"}),
    "adaptssr, no hard negatives": lambda: _recipe("adaptssr", **{"objective.hard_negatives": False}),
    "adaptssr, implicit over explicit only": lambda: _recipe(
        "adaptssr", **{"objective.constraints": "implicit"}
    ),
    "adaptssr, explicit over others only": lambda: _recipe(
        "adaptssr", **{"objective.constraints": "explicit"}
    ),
    "adaptssr, InfoNCE instead": _contrast_after_masks,
    "adaptssr, smooth maximum": lambda: _recipe("adaptssr", **{"objective.smoothing": 0.1}),
    "adaptssr, no first stage": lambda: _recipe("adaptssr").model_copy(update={"stages": ()}),
}


def make_store(data: str, folder: Path) -> SequenceStore:
    """The store of a data set, with what is known of its users."""
    if not DATA[data][0]:
        logs = simulate(SimulateConfig(), folder / "logs")
        log = um.read_events(logs / "events.parquet", event_type="event_type")
        return build_store(log, folder / "store", users_table=logs / "users.parquet")
    source = Path(os.environ["USERMODEL_DATA_DIR"]) / DATA[data][0]
    prepared = read_data_set(data, source)
    return build_store(prepared.log, folder / "store", users_table=prepared.tables.users)


def labels(data: str, store: SequenceStore) -> pl.DataFrame | None:
    """A table of labels where the users table has none in one column: Coat's are one column a class."""
    if data != "coat":
        return None
    table = store.table("users")
    groups: dict[str, list[str]] = {}
    for name in table.columns:
        head, _, value = name.partition(":")
        if value:
            groups.setdefault(head, []).append(name)
    found = [
        pl.coalesce(pl.when(pl.col(one).cast(pl.Int64) == 1).then(pl.lit(one)) for one in names).alias(head)
        for head, names in groups.items()
    ]
    return table.select("user_id", *found)


def cell(data: str, path: str, variant: str, seed: int, steps: int) -> dict[str, Any]:
    """Pretrain one variant with one seed, and score its vectors."""
    store = SequenceStore.open(path)
    recipe = (VARIANTS | ABLATIONS)[variant]()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        if recipe is None:
            torch.manual_seed(seed)
            config = find("adaptssr").override({"encoder.max_history": 50}).encoder
            io.save(folder, config.build_on(store), config, store.vocabulary)
        else:
            share = steps // (1 + len(recipe.stages))
            changes = {"training.max_steps": share, "training.seed": seed}
            stages = tuple(stage.override(changes) for stage in recipe.stages)
            pretrain(store, recipe.override(changes).model_copy(update={"stages": stages}), folder)
        seconds = time.monotonic() - started
        vectors = UserEncoder.load(folder).encode(store)
    table, scores = labels(data, store), {}
    for label in DATA[data][1]:
        rows = UserAttribute(label, table).score(vectors, store)
        scores |= {one.metric: one.value for one in rows}
        scores[f"{label}/n"] = rows[0].n
    return {"variant": variant, "seed": seed, "seconds": round(seconds, 1), "scores": scores}


def summarise(runs: list[dict[str, Any]], data: str, reference: str) -> dict[str, Any]:
    """For each label and metric: every variant, and how far the reference is above it, seed by seed."""
    found: dict[str, Any] = {}
    by: dict[str, dict[int, dict[str, float]]] = {}
    for one in runs:
        by.setdefault(one["variant"], {})[one["seed"]] = one["scores"]
    for label in DATA[data][1]:
        for metric in METRICS:
            name = f"{label}/{metric}"
            rows = {}
            for variant, seeds in by.items():
                rows[variant] = interval([scores[name] for scores in seeds.values()])
                both = [seed for seed in seeds if seed in by.get(reference, {})]
                if variant != reference and both:
                    above = [by[reference][seed][name] - seeds[seed][name] for seed in both]
                    rows[variant][f"{reference} minus this"] = interval(above)
            found[name] = rows
        found[f"{label}/majority"] = runs[0]["scores"][f"{label}/majority"]
        found[f"{label}/n"] = runs[0]["scores"][f"{label}/n"]
    return found


def main() -> None:
    """Run all cells and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", choices=sorted(DATA), required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--steps", type=int, default=400, help="optimiser steps of each run, all its stages together"
    )
    parser.add_argument("--ablations", action="store_true")
    parser.add_argument("--only", action="append", help="variants to run; all unless given")
    parser.add_argument("--reference", default="adaptssr")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once, of one thread each")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    data, variants = arguments.data, list(VARIANTS | (ABLATIONS if arguments.ablations else {}))
    variants = arguments.only or variants
    facts = {"data": data, "steps": arguments.steps, "settings": SETTINGS}
    found = cells.before(arguments.out, facts)
    there = {(one["variant"], one["seed"]) for one in found}
    asked = [(variant, seed) for seed in range(arguments.seeds) for variant in variants]
    todo = [one for one in asked if one not in there]
    order, first = list(VARIANTS | ABLATIONS), f"{DATA[data][1][0]}/auc"
    with tempfile.TemporaryDirectory() as name:
        store = make_store(data, Path(name))
        runs = [(data, str(store.path), *one, arguments.steps) for one in todo]
        for number, one in enumerate(cells.each(arguments.jobs, cell, runs), start=1):
            found = sorted([*found, one], key=lambda one: (order.index(one["variant"]), one["seed"]))
            scores = summarise(found, data, arguments.reference)
            result = facts | {"scores": scores, "cells": found} | cells.machine(arguments.jobs)
            cells.write(arguments.out, result)
            print(
                f"{number}/{len(todo)} {one['variant']}, seed {one['seed']}: {one['seconds']} s, "
                f"{first} {one['scores'][first]:.4f}",
                flush=True,
            )
    for name, rows in summarise(found, data, arguments.reference).items():
        if isinstance(rows, dict):
            print(name, {variant: round(row["mean"], 4) for variant, row in rows.items()})


if __name__ == "__main__":
    main()
