"""What self-supervision of item vectors does for items that few took: MovieLens-1M, two towers with item features.

    python benchmarks/quality/item_self_supervision.py --out benchmarks/results/item_self_supervision_ml_1m.json

Three variants of the recipe ``two-towers-self-supervised`` under one budget: without the self-supervised term, with random masks, with
masks of correlated features. Item features are genres, year, decade and the words of the title. Runs are short: ``--epochs`` over the
latest 50 training events of each user. Nothing is tuned or chosen: no validation, the last weights are scored. The test split is scored once a run, in full ranking without
seen items: recall (one target a user, so it equals hit) of all targets, and of those whose item is in the less popular half of the
catalogue by training events. Writes one JSON object: scores by seed, means with 95 % intervals (Student's t), and the paired differences
to the variant without, with theirs. Data: $USERMODEL_DATA_DIR.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from seeds import interval

import usermodel as um
from usermodel.embedding_table import DotScorer
from usermodel.embeddings.user_encoder import UserEncoder
from usermodel.encoders.encode import encode
from usermodel.events.data_sets import read_data_set
from usermodel.metrics.popularity import ItemPopularity
from usermodel.objectives.item_self_supervision import ItemSelfSupervisionConfig
from usermodel.objectives.weighted_sum import Term
from usermodel.recipes.catalog import find, parse_assignments
from usermodel.store.build import build_store
from usermodel.store.sequence_store import SequenceStore
from usermodel.tasks.next_item import NextItem
from usermodel.training.pretrain import pretrain
from usermodel.training.recipe import Recipe

FEATURES = ("genres", "year", "decade", "words")
METRICS = ("recall@10", "recall@50", "ndcg@10")
#: Beside those of the recipe.
SETTINGS: dict[str, Any] = {
    "encoder.inputs.item_features": list(FEATURES),
    "sampling.class": "usermodel.sampling.recent:RecentConfig",
    "training.batch_events": 2048,
    "training.monitor": "none",
    "training.schedule": "linear",
}
#: The variant -> its masks; None is without the term.
VARIANTS: dict[str, Any] = {"none": None, "random masks": "random", "correlated masks": "correlated"}


def features(items: pl.DataFrame) -> pl.DataFrame:
    """Genres as a list, year and decade as text, words of the title in small letters."""
    year = pl.col("title").str.extract(r"\((\d{4})\)\s*$")
    words = (
        pl.col("title").str.replace(r"\(\d{4}\)\s*$", "").str.to_lowercase().str.extract_all(r"[\p{L}\d]+")
    )
    return items.select(
        "item_id",
        pl.col("genres").str.split("|"),
        year.alias("year"),
        (year.str.slice(0, 3) + "0s").alias("decade"),
        words.alias("words"),
    )


def make_store(folder: Path) -> SequenceStore:
    """MovieLens-1M with its films."""
    prepared = read_data_set("movielens-1m", Path(os.environ["USERMODEL_DATA_DIR"]) / "ml-1m")
    return build_store(prepared.log, folder, items_table=features(prepared.tables.items))


def recipe(masking: str | None, weight: float, changes: dict[str, Any]) -> Recipe:
    """The recipe with one kind of masks, or without the term."""
    own = find("two-towers-self-supervised").override(changes)
    terms = [own.objective.terms[0]]
    if masking is not None:
        terms.append(Term(objective=ItemSelfSupervisionConfig(masking=masking), weight=weight))
    return own.override({"objective.terms": [term.to_dict() for term in terms]})


def scores(run: Any, store: SequenceStore) -> dict[str, float]:
    """Test metrics of all targets, and of those in the less popular half of the catalogue."""
    encoder = UserEncoder.load(run)
    task = NextItem(metrics=METRICS, max_history=encoder.module.max_history)
    labels = task.requests(store)
    vectors = torch.from_numpy(encode(encoder.module, store, labels))
    scorer = DotScorer(vectors, torch.from_numpy(encoder.items().to_numpy()), rows=labels.user)
    counts = ItemPopularity.fit(store, store.split(task.split)).events
    # Half of the items; equals go by their number.
    few = np.zeros(store.n_items, dtype=bool)
    few[np.argsort(counts, kind="stable")[: store.n_items // 2]] = True
    unpopular = np.flatnonzero(few[store.items[labels.target_start] - 1])
    found: dict[str, float] = {"unpopular/n": len(unpopular), "unpopular/most events": int(counts[few].max())}
    for name, rows in (("all", np.arange(len(labels))), ("unpopular", unpopular)):
        results = task.score(scorer, store, labels.take(rows))
        found |= {f"{name}/{one.metric}": one.value for one in results}
    return found


def main() -> None:
    """Run all variants and seeds and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--weight", type=float, default=0.2, help="alpha")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    changes = SETTINGS | {"training.max_epochs": arguments.epochs} | parse_assignments(arguments.set)
    started, rows, hidden_with = time.monotonic(), [], {}
    with tempfile.TemporaryDirectory() as name:
        store = make_store(Path(name) / "store")
        for seed in range(arguments.seeds):
            for variant, masking in VARIANTS.items():
                begun = time.monotonic()
                own = recipe(masking, arguments.weight, changes).override({"training.seed": seed})
                run = pretrain(store, own, Path(name) / f"{masking}-{seed}")
                row = {"variant": variant, "seed": seed, "epochs": run.meta["epochs"]}
                row |= {"seconds": round(time.monotonic() - begun, 1), "scores": scores(run, store)}
                rows.append(row)
                hidden_with |= run.meta.get("item_self_supervision/hidden_with", {})
                print(json.dumps(row), flush=True)
        facts = {"n_users": store.n_users, "n_items": store.n_items, "n_events": store.n_events}
    by = {(row["variant"], row["seed"]): row["scores"] for row in rows}
    names = [f"{where}/{metric}" for where in ("unpopular", "all") for metric in METRICS]
    summary: dict[str, Any] = {}
    for name in names:
        of = {variant: [by[variant, seed][name] for seed in range(arguments.seeds)] for variant in VARIANTS}
        summary[name] = {variant: interval(values) | {"seeds": values} for variant, values in of.items()}
        for variant in list(VARIANTS)[1:]:
            above = [one - other for one, other in zip(of[variant], of["none"], strict=True)]
            summary[name][variant]["minus none"] = interval(above)
    result = {
        "command": shlex.join(["python", "benchmarks/quality/item_self_supervision.py", *sys.argv[1:]]),
        "data": "MovieLens-1M, order only",
        **facts,
        "features": FEATURES,
        "hidden_with": hidden_with,
        "recipe": "two-towers-self-supervised",
        "settings": changes,
        "weight": arguments.weight,
        "metrics": summary,
        "runs": rows,
        "total_seconds": round(time.monotonic() - started),
        "hardware": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "versions": {"usermodel": um.__version__, "torch": torch.__version__},
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    for name, of in summary.items():
        print(name, {variant: round(one["mean"], 4) for variant, one in of.items()})


if __name__ == "__main__":
    main()
