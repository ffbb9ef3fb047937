"""Next-item with leave-last-out splits, through the command line, several seeds: scores, and the seconds they took.

    python benchmarks/quality/next_item.py --data beauty --out benchmarks/results/next_item_beauty.json

Data: $USERMODEL_DATA_DIR. Writes one JSON object: mean and 95 % interval over seeds of every metric, the scores of each
seed, commands, hardware, and the wall seconds of each ``pretrain``, from the start of its process to the end: validation
is part of that and alone decides when it stops. The test split is scored once a seed, afterwards. Seeds may run side by side
(``--at-once``), each with its share of the threads: its seconds are then longer, and the whole is done sooner. The object is
written after every seed, and what it holds already is not run again: a long proof may be stopped and go on.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import cells
from seeds import interval

METRICS = ("hit@5", "ndcg@5", "hit@10", "ndcg@10", "hit@20", "ndcg@20", "mrr")
#: Title, and log below the data folder.
DATA = {
    "beauty": ("Amazon Beauty 5-core (2014), order only", "amazon-beauty/Beauty.txt.gz"),
    "ml-1m": ("MovieLens-1M, order only", "ml-1m/ml-1m_icsrec.txt.gz"),
}
#: hit@5, hit@20, ndcg@5, ndcg@20 in the main table of ICSRec (Qin et al. 2024, repository, performances.md): same files, split and
#: protocol, histories of 50 events; for icsrec also hit@10 and ndcg@10 of the weights that were published.
SOURCE = "Qin et al. 2024, main table"
PUBLISHED: dict[str, dict[str, tuple[float, ...]]] = {
    "beauty": {
        "sasrec": (0.0377, 0.0894, 0.0241, 0.0386),
        "bert4rec": (0.0360, 0.0984, 0.0216, 0.0391),
        "cl4srec": (0.0401, 0.0974, 0.0268, 0.0428),
        "coserec": (0.0504, 0.1034, 0.0339, 0.0487),
        "duorec": (0.0561, 0.1228, 0.0348, 0.0536),
        "iclrec": (0.0500, 0.1058, 0.0326, 0.0483),
        "icsrec": (0.0698, 0.1298, 0.0494, 0.0663, 0.0959, 0.0578),
    },
    "ml-1m": {
        "sasrec": (0.1078, 0.2745, 0.0681, 0.1156),
        "bert4rec": (0.1308, 0.3354, 0.0804, 0.1384),
        "cl4srec": (0.1142, 0.2818, 0.0705, 0.1170),
        "coserec": (0.1128, 0.2950, 0.0692, 0.1247),
        "duorec": (0.2098, 0.4098, 0.1433, 0.2007),
        "iclrec": (0.1382, 0.3368, 0.0889, 0.1450),
        "icsrec": (0.2445, 0.4518, 0.1710, 0.2297, 0.3369, 0.2007),
    },
}
#: What the scores of one seed say of all.
OF_A_RUN = (
    "n",
    "n_users",
    "n_items",
    "n_events",
    "protocol",
    "parameters",
    "hardware",
    "versions",
    "definitions",
)
PUBLISHED_METRICS = ("hit@5", "hit@20", "ndcg@5", "ndcg@20", "hit@10", "ndcg@10")


def run(command: str, folder: Path, threads: int | None = None) -> float:
    """Run one command line; returns its wall time in seconds."""
    print("$", command, flush=True)
    started = time.monotonic()
    variables = os.environ | ({} if threads is None else {"OMP_NUM_THREADS": str(threads)})
    words = [Path(sys.executable).parent / "usermodel", *shlex.split(command)[1:]]
    subprocess.run(words, cwd=folder, check=True, env=variables)
    return time.monotonic() - started


def published(data: str, recipe: str) -> dict[str, Any]:
    """What the literature says of the method of a recipe; empty where it says nothing."""
    method = {"icsrec-official": "icsrec", "icsrec-long": "icsrec"}.get(recipe, recipe)
    values = PUBLISHED[data].get(method)
    return {"source": SOURCE} | dict(zip(PUBLISHED_METRICS, values, strict=False)) if values else {}


def summary(rows: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """Mean and 95 % interval (Student's t) over seeds."""
    values = [row[name] for row in rows]
    return interval(values) | {"seeds": values}


def main() -> None:
    """Run the seeds that the result does not have."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", choices=sorted(DATA), required=True)
    parser.add_argument("--recipe", default="next-item")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--at-once", type=int, default=1, help="seeds that run side by side")
    parser.add_argument("--goal-ndcg", type=float, help="mean test NDCG@10 to reach")
    parser.add_argument("--goal-seconds", type=float, help="mean seconds of a whole pretrain to stay below")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    runs = cells.before(arguments.out, facts(arguments))
    todo = [seed for seed in range(arguments.seeds) if seed not in {run["seed"] for run in runs}]
    _, place = DATA[arguments.data]
    log = Path(os.environ["USERMODEL_DATA_DIR"]) / place
    options = "".join(f" --set {one}" for one in arguments.set)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / log.name).symlink_to(log.resolve())
        ingest = f"usermodel ingest {log.name} --format sequences -o store"
        run(ingest, folder)
        threads = None if arguments.at_once == 1 else max(1, (os.cpu_count() or 1) // arguments.at_once)

        def one(seed: int) -> dict[str, Any]:
            train = f"usermodel pretrain store -o run{seed} --recipe {arguments.recipe}{options} --set training.seed={seed}"
            score = f"usermodel evaluate run{seed} store --task next-item --json scores{seed}.json"
            took = run(train, folder, threads)
            run(score, folder, threads)
            scores = json.loads((folder / f"scores{seed}.json").read_text())
            return {"seed": seed, "commands": [train, score], "seconds": took, "scores": scores}

        with ThreadPoolExecutor(arguments.at_once) as pool:
            for done in as_completed([pool.submit(one, seed) for seed in todo]):
                runs = sorted([*runs, done.result()], key=lambda found: found["seed"])
                report(arguments, ingest, runs)


def facts(arguments: argparse.Namespace) -> dict[str, Any]:
    """What all seeds of a result have in common."""
    title, _ = DATA[arguments.data]
    return {"data": title, "recipe": arguments.recipe, "options": arguments.set, "at_once": arguments.at_once}


def report(arguments: argparse.Namespace, ingest: str, runs: list[dict[str, Any]]) -> None:
    """Write what is known so far, whole or not at all."""
    rows = [run["scores"] for run in runs]
    seconds = [run["seconds"] for run in runs]
    metrics = {name: summary(rows, name) for name in METRICS}
    goals = [
        (arguments.goal_ndcg, metrics["ndcg@10"]["mean"], 1),
        (arguments.goal_seconds, statistics.mean(seconds), -1),
    ]
    result = {
        "commands": [ingest, *(command for run in runs for command in run["commands"])],
        **facts(arguments),
        "seeds": len(runs),
        "metrics": metrics,
        "pretrain_seconds": seconds,
        "mean_seconds": statistics.mean(seconds),
        "published": published(arguments.data, arguments.recipe),
        "goal_ndcg": arguments.goal_ndcg,
        "goal_seconds": arguments.goal_seconds,
        "reached": all(goal is None or sign * found >= sign * goal for goal, found, sign in goals),
        "epochs": [row["epochs"] for row in rows],
        **{key: rows[0][key] for key in OF_A_RUN},
        "cells": runs,
    }
    cells.write(arguments.out, result)
    print({name: round(value["mean"], 5) for name, value in metrics.items()}, flush=True)


if __name__ == "__main__":
    main()
