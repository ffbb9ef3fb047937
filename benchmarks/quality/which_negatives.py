"""One encoder, several losses and negatives, on Beauty: scores, seconds of an epoch, and how popular the recommended items are.

    python benchmarks/quality/which_negatives.py --out benchmarks/results/which_negatives_beauty.json

Every variant is the recipe ``next-item-fast`` with another loss or another sampler: same encoder, batches and rule for stopping, which
looks at validation only. Nothing is tuned for a variant. Negatives that all events share are 256; an event's own are 16. The test
split is scored once a run, in full ranking without seen items, with the popularity of what is listed: mean training events of the
items (``arp@10``), the same by that of the user's history (``popularity_bias@10``), and the share of the catalogue in any list.
Seconds of an epoch are the least of the seeds, of a run of one thread beside others. Data: $USERMODEL_DATA_DIR. Writes one JSON object: for each
variant means and 95 % intervals over seeds (Student's t), and of the differences to the full softmax, seed by seed. A stopped command
goes on.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import cells
from seeds import interval

import usermodel as um
from usermodel.benchmark.evaluate import evaluate
from usermodel.negatives.cached_hard import CachedHardConfig
from usermodel.negatives.denoised import DenoisedConfig
from usermodel.negatives.hard import HardConfig
from usermodel.negatives.in_batch import InBatchConfig
from usermodel.negatives.mixed import MixedConfig
from usermodel.negatives.popularity import PopularityConfig
from usermodel.negatives.protocol import NegativesConfig
from usermodel.negatives.uniform import UniformConfig
from usermodel.negatives.unseen import UnseenConfig
from usermodel.recipes.catalog import find
from usermodel.store.sequence_store import SequenceStore
from usermodel.training.pretrain import pretrain
from usermodel.training.recipe import Recipe

LOG = "amazon-beauty/Beauty.txt.gz"
METRICS = ("ndcg@10", "hit@10", "arp@10", "popularity_bias@10", "coverage@10")
SHARED, OWN = 256, 16
SETTINGS = {"training.max_epochs": 60}
FULL = "softmax"
#: The sampled softmax in which every draw counts once, and binary cross-entropy as published.
WITHOUT, PLAIN = ", without log q", ", without prior"

#: The loss, how many negatives, and their sampler; None where the loss draws none.
VARIANTS: dict[str, tuple[str, int, NegativesConfig | None]] = {
    FULL: ("softmax", 0, None),
    "sampled softmax, uniform": ("sampled-softmax", SHARED, UniformConfig()),
    "sampled softmax, popularity": ("sampled-softmax", SHARED, PopularityConfig()),
    "sampled softmax, in-batch": ("sampled-softmax", SHARED, InBatchConfig()),
    f"sampled softmax, in-batch{WITHOUT}": ("sampled-softmax", SHARED, InBatchConfig()),
    "sampled softmax, in-batch and uniform": ("sampled-softmax", SHARED, MixedConfig()),
    "gbce, uniform": ("gbce", SHARED, UniformConfig()),
    "bce, uniform": ("bce", OWN, UniformConfig(shared=False)),
    f"bce, uniform{PLAIN}": ("bce", OWN, UniformConfig(shared=False)),
    "bce, unseen": ("bce", OWN, UnseenConfig()),
    "bce, popularity": ("bce", OWN, PopularityConfig(shared=False)),
    "bce, hard of 8": ("bce", OWN, HardConfig(candidates=8)),
    "bce, hard of 8, unseen": ("bce", OWN, HardConfig(candidates=8, unseen=True)),
    "bce, denoised of 8, unseen": ("bce", OWN, DenoisedConfig(hard=HardConfig(candidates=8, unseen=True))),
    "bce, cached hard": ("bce", OWN, CachedHardConfig()),
    "bpr, uniform": ("bpr", OWN, UniformConfig(shared=False)),
}


def recipe(variant: str) -> Recipe:
    """The common recipe with the loss and the negatives of a variant."""
    loss, n, negatives = VARIANTS[variant]
    own: dict[str, Any] = {"objective.loss": loss}
    if negatives is not None:
        own |= {"objective.n_negatives": n, "negatives": negatives}
    if variant.endswith(WITHOUT):
        own["objective.log_q"] = False
    if variant.endswith(PLAIN):
        own["objective.prior"] = False
    return find("next-item-fast").override(own | SETTINGS)


def cell(path: str, variant: str, seed: int) -> dict[str, Any]:
    """Pretrain one variant with one seed, and score the test split."""
    with tempfile.TemporaryDirectory() as name:
        started = time.monotonic()
        run = pretrain(path, recipe(variant).override({"training.seed": seed}), Path(name) / "run")
        seconds = time.monotonic() - started
        rows = evaluate(run, path, metrics=METRICS)
    return {
        "variant": variant,
        "seed": seed,
        "seconds": round(seconds, 1),
        "epochs": run.meta["epochs"],
        "scores": {row.metric: row.value for row in rows},
    }


def summarise(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Of each variant: every metric over seeds, its difference to the full softmax, and seconds."""
    by: dict[str, dict[int, dict[str, Any]]] = {}
    for one in found:
        by.setdefault(one["variant"], {})[one["seed"]] = one
    summary: dict[str, Any] = {}
    for variant, seeds in by.items():
        row: dict[str, Any] = {}
        for metric in METRICS:
            row[metric] = interval([one["scores"][metric] for one in seeds.values()])
            both = [seed for seed in seeds if seed in by.get(FULL, {})]
            if variant != FULL and both:
                minus = [seeds[seed]["scores"][metric] - by[FULL][seed]["scores"][metric] for seed in both]
                row[metric][f"minus {FULL}"] = interval(minus)
        row["epochs"] = [one["epochs"] for one in seeds.values()]
        # Whatever else runs only adds to them.
        row["seconds_per_epoch"] = min(one["seconds"] / one["epochs"] for one in seeds.values())
        summary[variant] = row
    return summary


def write(arguments: argparse.Namespace, facts: dict[str, Any], found: list[dict[str, Any]]) -> None:
    """What is known so far."""
    result = facts | {"scores": summarise(found), "cells": found} | cells.machine(arguments.jobs)
    cells.write(arguments.out, result)


def main() -> None:
    """Run the cells that the result does not have."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", action="append", choices=VARIANTS, help="variants to run; all unless given")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once, of one thread each")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    order = list(VARIANTS)
    recipes = {variant: recipe(variant).to_dict() for variant in VARIANTS}
    facts = {"data": "Amazon Beauty 5-core (2014), order only", "recipes": recipes}
    found = cells.before(arguments.out, facts)
    there = {(one["variant"], one["seed"]) for one in found}
    asked = [(variant, seed) for seed in range(arguments.seeds) for variant in arguments.only or order]
    todo = [one for one in asked if one not in there]
    with tempfile.TemporaryDirectory() as name:
        log = um.read_events(Path(os.environ["USERMODEL_DATA_DIR"]) / LOG, format="sequences")
        store: SequenceStore = um.build_store(log, Path(name) / "store")
        runs = cells.each(arguments.jobs, cell, [(str(store.path), *one) for one in todo])
        for number, one in enumerate(runs, start=1):
            found = sorted([*found, one], key=lambda one: (order.index(one["variant"]), one["seed"]))
            write(arguments, facts, found)
            print(f"{number}/{len(todo)}", {key: one[key] for key in one if key != "scores"}, flush=True)
            print({name: round(value, 4) for name, value in one["scores"].items()}, flush=True)
    write(arguments, facts, found)


if __name__ == "__main__":
    main()
