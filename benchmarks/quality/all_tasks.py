"""One user vector, all tasks: next items, clicks, watch time and attributes, by objective, beside what needs no pretraining.

    python benchmarks/quality/all_tasks.py --data simulator --out benchmarks/results/all_tasks_simulator.json

``next-item-fast`` is the recipe of that name, trained until it stops; every other objective has the settings and the number of optimiser
steps that ``user_attribute.py`` gives it. All are trained on the training part of one split by time. Clicks are guessed by ``deepfm``,
watch times by ``value-regression``, with user and item beside the vector, and attributes by a linear probe over the same five parts;
what is held equal is all of it but the vectors (`usermodel.benchmark.beside`). ``simulator``: 60,000 simulated events and every eighth
impression. ``movielens-100k``: stars >= 4 are clicks. ``kuairand``: clicks and watch times of exposures with a like or a hate, so of
people with an opinion. Data: $USERMODEL_DATA_DIR. Writes one JSON object: main metrics as means and 95 % intervals over seeds (Student's
t), and their differences, seed by seed, to the same heads without vectors, to statistics, and to means of items. A stopped command goes on.
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
import polars as pl
from ctr import kuairand_clicks
from seeds import interval
from user_attribute import VARIANTS

import usermodel as um
from usermodel.benchmark.beside import BASELINES, evaluate_beside
from usermodel.events.data_sets import read_data_set
from usermodel.events.simulate import SimulateConfig, simulate
from usermodel.events.splits import GlobalTimeConfig
from usermodel.recipes.catalog import find
from usermodel.store.build import build_store
from usermodel.store.sequence_store import SequenceStore
from usermodel.tasks.ctr import Ctr
from usermodel.tasks.watch_time import WatchTime
from usermodel.training.fit_rows import FitRowsConfig
from usermodel.training.pretrain import pretrain
from usermodel.training.recipe import Recipe
from usermodel.training.run import Run

SIMULATED = SimulateConfig(n_users=2_000, n_items=500, n_events=60_000)
FIRST, STEPS = "next-item-fast", 300
OBJECTIVES = (FIRST, "next-item", "masked-item", "cl4srec", "clue", "adaptssr")
SPLIT = GlobalTimeConfig()
AGAINST = ("no vectors", "statistics", "mean of items")


@dataclass(frozen=True)
class Data:
    """What is asked of a set; an empty text and no columns for what it cannot answer."""

    click: str
    watched: bool
    labels: tuple[str, ...]

    def tasks(self, seed: int) -> list[Ctr | WatchTime]:
        """On rows."""
        fit = FitRowsConfig(seed=seed)
        found: list[Ctr | WatchTime] = [Ctr(label=self.click, split=SPLIT, fit=fit)]
        return found + ([WatchTime(split=SPLIT, fit=fit)] if self.watched else [])


DATA = {
    "simulator": Data("clicked", True, ("device", "region", "age_band")),
    "movielens-100k": Data("rating>=4", False, ("gender", "occupation")),
    "kuairand": Data("value", True, ("user_active_degree", "follow_user_num_range")),
}


def make_store(data: str, folder: Path) -> SequenceStore:
    """The store of a set."""
    root = Path(os.environ["USERMODEL_DATA_DIR"])
    if data == "simulator":
        logs = simulate(SIMULATED, folder / "logs")
        shown = pl.read_parquet(logs / "impressions.parquet").gather_every(8)
        log = um.read_events(
            logs / "events.parquet",
            event_type="event_type",
            watch_time="watch_time_ms",
            duration="duration_ms",
        )
        return build_store(log, folder / "store", impressions=shown, users_table=logs / "users.parquet")
    if data == "movielens-100k":
        prepared = read_data_set(data, root / "ml-100k")
        return build_store(prepared.log, folder / "store", users_table=prepared.tables.users)
    place = root / "kuairand27k-likehate15"
    prepared = read_data_set("kuairand-27k", place)
    labels = kuairand_clicks(place)
    return build_store(prepared.log, folder / "store", labels=labels, users_table=prepared.tables.users)


def recipe(name: str, seed: int) -> Recipe:
    """The recipe of an objective, on the training part of the split."""
    if name == FIRST:
        return find(name).override({"data.split": SPLIT, "training.seed": seed, "training.max_epochs": 30})
    found = VARIANTS[name]()
    assert found is not None
    changes = {"training.max_steps": STEPS // (1 + len(found.stages)), "training.seed": seed}
    stages = tuple(stage.override(changes) for stage in found.stages)
    return found.model_copy(update={"stages": stages}).override(changes | {"data.split": SPLIT})


def cell(data: str, path: str, seed: int) -> dict[str, Any]:
    """Pretrain all objectives with one seed, and score them and the baselines."""
    store, about, started = SequenceStore.open(path), DATA[data], time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        runs: dict[str, Run] = {}
        for objective in OBJECTIVES:
            runs[objective] = pretrain(store, recipe(objective, seed), Path(name) / objective)
        found = evaluate_beside(runs, store, labels=about.labels, on_rows=about.tasks(seed))
    scores: dict[str, dict[str, float]] = {}
    for title, tasks in found.items():
        for task, row in tasks.main().items():
            scores.setdefault(f"{task.partition(' ')[0]} {row.metric}", {})[title] = row.value
    left_out = {title: tasks.left_out for title, tasks in found.items() if tasks.left_out}
    seconds = round(time.monotonic() - started, 1)
    return {"seed": seed, "seconds": seconds, "scores": scores, "left_out": left_out}


def summarise(found: list[dict[str, Any]]) -> dict[str, Any]:
    """For each task: every kind of vectors over seeds, and its differences to `AGAINST`."""
    summary: dict[str, Any] = {}
    for task in dict.fromkeys(task for one in found for task in one["scores"]):
        rows = {}
        for title in (*OBJECTIVES, *BASELINES):
            scored = [one["scores"][task] for one in found if title in one["scores"].get(task, {})]
            if not scored:
                continue
            rows[title] = interval([one[title] for one in scored])
            for other in AGAINST:
                both = [one[title] - one[other] for one in scored if other in one and other != title]
                if both:
                    rows[title][f"minus {other}"] = interval(both)
        summary[task] = rows
    return summary


def main() -> None:
    """Run the seeds that the result does not have."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", choices=sorted(DATA), required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="seeds at once, of one thread each")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    recipes = {name: recipe(name, 0).to_dict() for name in OBJECTIVES}
    facts: dict[str, Any] = {"data": arguments.data, "steps": STEPS, "recipes": recipes}
    found = cells.before(arguments.out, facts)
    there = {one["seed"] for one in found}
    with tempfile.TemporaryDirectory() as name:
        store = make_store(arguments.data, Path(name))
        asked = [
            (arguments.data, str(store.path), seed) for seed in range(arguments.seeds) if seed not in there
        ]
        for one in cells.each(arguments.jobs, cell, asked):
            found = sorted([*found, one], key=lambda one: one["seed"])
            result = facts | {"scores": summarise(found), "cells": found} | cells.machine(arguments.jobs)
            cells.write(arguments.out, result)
            for task, row in one["scores"].items():
                print(one["seed"], task, {title: round(value, 4) for title, value in row.items()}, flush=True)


if __name__ == "__main__":
    main()
