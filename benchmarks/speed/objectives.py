"""Seconds of one epoch of Beauty with each built-in recipe, beside `next-item` in the same run.

    python benchmarks/speed/objectives.py --json benchmarks/results/objectives.json

Each recipe trains with its own batches and encoder, for at most --steps steps after the first ten, which are left out; an epoch is
so many seconds as its training events would take at that rate. What is done once an epoch, such as k-means, is added. Stages that
run before a recipe are not counted. Recipes that learn from labels are left out: Beauty has none.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from side_by_side import facts, write

import usermodel as um
from usermodel.loader import generator, step_seed
from usermodel.recipes.catalog import built_in
from usermodel.store.sequence_store import SequenceStore
from usermodel.training.loop import Loop
from usermodel.training.recipe import Recipe

LOG = "amazon-beauty/Beauty.txt.gz"
WARM_UP = 10


def epoch_seconds(store: SequenceStore, recipe: Recipe, steps: int, folder: Path) -> dict[str, Any]:
    """Seconds of an epoch: its start, and its steps at the rate of some of them."""
    loop = Loop(store, store.split(recipe.data.split), recipe, folder)
    examples, batches = loop._epoch(0)
    started = time.perf_counter()
    torch.manual_seed(step_seed(recipe.training.seed, 0))
    loop.objective.on_epoch_start(loop.encoder, store, examples)
    before = time.perf_counter() - started
    loop.modules.train()
    chosen = generator(0, "order", 0).permutation(len(batches))[: WARM_UP + steps]
    rows = [batches[number] for number in chosen]
    for batch in rows[:WARM_UP]:
        loop._step(examples.take(batch))
    timed = rows[WARM_UP:] or rows
    started = time.perf_counter()
    for batch in timed:
        loop._step(examples.take(batch))
    seconds = time.perf_counter() - started
    done = sum(int(examples.lengths[batch].sum()) for batch in timed)
    total = before + seconds * int(examples.lengths.sum()) / done
    return {"epoch_seconds": round(total, 2), "of_which_once": round(before, 2), "batches": len(batches)}


def main() -> None:
    """Time every recipe and write one object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", choices=["objectives"], default="objectives")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    source = Path(os.environ["USERMODEL_DATA_DIR"]).resolve() / LOG
    result: dict[str, Any] = {
        "job": "objectives",
        "data": "Amazon Beauty",
        "threads": torch.get_num_threads(),
    }
    with tempfile.TemporaryDirectory(prefix="usermodel-objectives-") as name:
        store = um.build_store(um.read_events(source, format="sequences"), Path(name) / "store")
        rows = {}
        for recipe, make in built_in().items():
            inputs = getattr(make().encoder, "inputs", None)
            # Beauty has neither labels nor item features.
            if make().sampling.draws_labels or (inputs is not None and inputs.score_item_features):
                continue
            rows[recipe] = epoch_seconds(store, make(), args.steps, Path(name) / recipe)
            print(recipe, rows[recipe], flush=True)
        base = rows["next-item"]["epoch_seconds"]
        for row in rows.values():
            row["times_next_item"] = round(row["epoch_seconds"] / base, 1)
        result["recipes"] = rows
    write(result | facts("objectives.py"), args.json)


if __name__ == "__main__":
    main()
