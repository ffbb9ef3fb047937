"""Do hard negatives hit positives that nobody recorded, and does the denoised sampler count them less?

    python benchmarks/quality/denoised.py --out benchmarks/results/denoised.json

MovieLens-100K, all ratings as positives, leave-last-out. Of each user's training events a share is hidden at random: these are
false negatives that are known. The same short recipe (bce, whose negatives are not corrected for how they were drawn) is trained
with uniform, hard and denoised negatives, never from the user's own training history, and stops by validation. Two questions, with
several seeds of data and training:

- Among the 20 items that the trained model ranks first for a user, but for those it was told of, how many are hidden positives?
  How many by weight, where weights are those of the sampler in the run's last epoch?
- NDCG@10 on the test items, full ranking.

Nothing is tuned. Data: $USERMODEL_DATA_DIR. Writes one JSON object: means and 95 % intervals over seeds (Student's t), also of
paired differences.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import cells
import numpy as np
import polars as pl
import torch
from numpy import ndarray
from safetensors.torch import load_file
from seeds import interval

import usermodel as um
from usermodel.benchmark.evaluate import evaluate
from usermodel.embeddings.user_encoder import UserEncoder
from usermodel.events.data_sets import read_data_set
from usermodel.negatives.denoised import Denoised, DenoisedConfig
from usermodel.negatives.hard import HardConfig
from usermodel.negatives.history_vectors import history_vectors
from usermodel.negatives.protocol import DrawContext, NegativesConfig
from usermodel.negatives.unseen import UnseenConfig
from usermodel.recipes.catalog import find
from usermodel.store.build import build_store
from usermodel.store.sequence_store import SequenceStore
from usermodel.training.pretrain import pretrain

MINED = 20
#: What `mined` finds, as far as a sampler has weights.
MINED_FACTS = ("hidden_share", "hidden_share_by_weight", "mean_weight", "coefficients")


def _hard(candidates: int) -> HardConfig:
    """What the user has taken in training comes after all other candidates."""
    return HardConfig(candidates=candidates, unseen=True)


VARIANTS: dict[str, NegativesConfig] = {
    "uniform": UnseenConfig(),
    "hard": _hard(32),
    "denoised": DenoisedConfig(hard=_hard(32)),
    "hard, 8 candidates": _hard(8),
    "denoised, 8 candidates": DenoisedConfig(hard=_hard(8)),
}
SETTINGS = {
    "encoder.layers": 1,
    "encoder.dim": 32,
    "encoder.hidden": 64,
    "objective.loss": "bce",
    "objective.n_negatives": 4,
    "training.schedule": "constant",
    "training.batch_events": 2048,
    "training.learning_rate": 3e-3,
    "training.max_epochs": 8,
    "training.patience": 3,
}
PREFIX = "objective.loss.negatives."


def hide(
    log: pl.DataFrame, share: float, seed: int, folder: Path
) -> tuple[SequenceStore, dict[str, set[str]]]:
    """A store without a share of the training events, and what was hidden of each user."""
    rng = np.random.default_rng(seed)
    from_end = pl.int_range(pl.len()).reverse().over("user_id")
    hidden = (pl.Series(rng.random(log.height) < share)) & log.select(from_end >= 2).to_series()
    taken = log.filter(hidden).group_by("user_id").agg("item_id")
    store = build_store(um.read_events(log.filter(~hidden)), folder)
    return store, {user: set(items) for user, items in taken.iter_rows()}


def mined(
    store: SequenceStore, run: Path, config: NegativesConfig, hidden: dict[str, set[str]]
) -> dict[str, Any]:
    """Share of hidden positives among the best items that nobody took, plain and, for the denoised sampler, by weight."""
    split, encoder = store.split(), UserEncoder.load(run).module
    vectors = history_vectors(encoder, store, np.arange(store.n_users), split.train_stop)
    context = DrawContext.of(encoder, vectors, torch.arange(store.n_users))
    scores = (vectors @ context.item_vectors().T).double()
    owner = np.repeat(np.arange(store.n_users), np.diff(store.offsets))
    scores[owner, store.items.astype(np.int64) - 1] = -torch.inf
    ids = scores.topk(MINED, dim=1).indices + 1
    words = store.vocabulary.decode(ids.flatten().numpy()).to_numpy().reshape(ids.shape)
    false = np.array(
        [
            [item in hidden.get(user, ()) for item in row]
            for user, row in zip(store.users.ids, words, strict=True)
        ]
    )
    found: dict[str, Any] = {"hidden_share": float(false.mean())}
    if isinstance(config, DenoisedConfig):
        sampler = config.build(store, split)
        weight = weights_of(sampler, run, context, ids)
        found["hidden_share_by_weight"] = float((weight * false).sum() / weight.sum())
        found["mean_weight"] = {
            "hidden": float(weight[false].mean()),
            "others": float(weight[~false].mean()),
        }
        found["coefficients"] = {
            "relevance": sampler.relevance.tolist(),
            "selection": sampler.selection.tolist(),
        }
    return found


def weights_of(sampler: Denoised, run: Path, context: DrawContext, ids: torch.Tensor) -> ndarray:
    """What the sampler of the run's last epoch makes of items."""
    weights = load_file(max((run / "checkpoints").glob("step-*")) / "model.safetensors")
    ours = {name.removeprefix(PREFIX): value for name, value in weights.items() if name.startswith(PREFIX)}
    sampler.load_state_dict(ours)
    above = sampler.hard.places(context, ids)[0]
    return sampler.weights(context.vectors, ids, above).numpy()


def cell(log: pl.DataFrame, share: float, variant: str, seed: int) -> dict[str, Any]:
    """One variant with one seed of data and training."""
    config = VARIANTS[variant]
    with tempfile.TemporaryDirectory() as name:
        store, hidden = hide(log, share, seed, Path(name) / "store")
        recipe = find("next-item").override(SETTINGS | {"training.seed": seed, "negatives": config})
        folder, started = Path(name) / "run", time.monotonic()
        run = pretrain(store, recipe, folder)
        seconds = round(time.monotonic() - started, 1)
        scores = {one.metric: one.value for one in evaluate(run, store)} | mined(
            store, folder, config, hidden
        )
    facts = {"variant": variant, "seed": seed, "seconds": seconds, "epochs": run.meta["epochs"]}
    return (
        facts
        | {"ndcg@10": scores["ndcg@10"]}
        | {name: scores[name] for name in MINED_FACTS if name in scores}
    )


def differences(found: list[dict[str, Any]]) -> dict[str, Any]:
    """What the questions ask, seed by seed."""
    by = {(one["variant"], one["seed"]): one for one in found}
    pairs = {}
    for end in ("", ", 8 candidates"):
        hard, denoised = f"hard{end}", f"denoised{end}"
        pairs[f"ndcg@10, hard minus uniform{end}"] = (hard, "ndcg@10", "uniform", "ndcg@10")
        pairs[f"ndcg@10, denoised minus hard{end}"] = (denoised, "ndcg@10", hard, "ndcg@10")
        by_weight = (denoised, "hidden_share_by_weight", denoised, "hidden_share")
        pairs[f"hidden share by weight minus plain{end}"] = by_weight
    summary = {}
    for name, (one, metric, other, plain) in pairs.items():
        seeds = [seed for variant, seed in by if variant == one and (other, seed) in by]
        if seeds:
            summary[name] = interval([by[one, seed][metric] - by[other, seed][plain] for seed in seeds])
    return summary


def summarise(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds of every variant, and the differences."""
    scores: dict[str, dict[str, Any]] = {}
    for variant in VARIANTS:
        rows = [one for one in found if one["variant"] == variant]
        for name in ("ndcg@10", "hidden_share", "hidden_share_by_weight"):
            if rows and name in rows[0]:
                scores.setdefault(variant, {})[name] = interval([one[name] for one in rows])
    return {"scores": scores, "differences": differences(found)}


def main() -> None:
    """Run the cells that the result does not have."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--hidden", type=float, default=0.3, help="share of the training events to hide")
    parser.add_argument("--jobs", type=int, default=2, help="cells at once, of one thread each")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    source = Path(os.environ["USERMODEL_DATA_DIR"]) / "ml-100k"
    log = (
        read_data_set("movielens-100k", source).log.scan().select("user_id", "item_id", "timestamp").collect()
    )
    # As a store orders it; what is later in a file is later among equal times.
    log = log.sort("user_id", "timestamp", maintain_order=True)
    facts = {
        "data": "MovieLens-100K, all ratings",
        "hidden": arguments.hidden,
        "settings": SETTINGS,
        "negatives": {variant: config.to_dict() for variant, config in VARIANTS.items()},
    }
    order, found = list(VARIANTS), cells.before(arguments.out, facts)
    there = {(one["variant"], one["seed"]) for one in found}
    # What was looked at while the sampler was made had seed 0.
    asked = [(variant, seed) for seed in range(1, 1 + arguments.seeds) for variant in VARIANTS]
    todo = [(log, arguments.hidden, *one) for one in asked if one not in there]
    for one in cells.each(arguments.jobs, cell, todo):
        print(one, flush=True)
        found = sorted([*found, one], key=lambda one: (order.index(one["variant"]), one["seed"]))
        cells.write(
            arguments.out, facts | summarise(found) | {"cells": found} | cells.machine(arguments.jobs)
        )
    print(json.dumps(differences(found), indent=1))


if __name__ == "__main__":
    main()
