"""Do hard negatives hit positives that nobody recorded, and does the denoised sampler count them less?

    python benchmarks/quality/denoised.py --out benchmarks/results/denoised.json

MovieLens-100K, all ratings as positives, leave-last-out. Of each user's training events a share is hidden at random: these are
false negatives that are known. The same short recipe (bce, whose negatives are not corrected for how they were drawn) is trained
with uniform, hard and denoised negatives, in which draws from the user's own
training history count 0, and stops by validation. Two questions, with several seeds of data and training:

- Among the 20 items that the trained model ranks first for a user, but for those it was told of, how many are hidden positives?
  How many by weight, where weights are those of the sampler in the run's last epoch?
- NDCG@10 on the test items, full ranking.

Nothing is tuned. Data: $USERMODEL_DATA_DIR. Writes one JSON object: means and 95 % intervals over seeds (Student's t), also of
paired differences.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import shlex
import sys
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

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
from usermodel.negatives.uniform import UniformConfig
from usermodel.negatives.without_false_negatives import WithoutFalseNegativesConfig
from usermodel.recipes.catalog import find
from usermodel.store.build import build_store
from usermodel.store.sequence_store import SequenceStore
from usermodel.training.pretrain import pretrain

MINED = 20


def _unseen(source: NegativesConfig) -> NegativesConfig:
    """Draws that the user has not taken in training, as far as is known."""
    return WithoutFalseNegativesConfig(source=source, similarity=None, seen=True)


VARIANTS: dict[str, NegativesConfig] = {
    "uniform": _unseen(UniformConfig(shared=False)),
    "hard": _unseen(HardConfig()),
    "denoised": _unseen(DenoisedConfig()),
    "hard, 8 candidates": _unseen(HardConfig(candidates=8)),
    "denoised, 8 candidates": _unseen(DenoisedConfig(hard=HardConfig(candidates=8))),
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
PREFIX = "objective.loss.negatives.source."


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
    context = DrawContext.of(encoder, vectors, None)
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
    source = getattr(config, "source", None)
    if isinstance(source, DenoisedConfig):
        sampler = source.build(store, split)
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


def cell(log: pl.DataFrame, share: float, seed: int, epochs: int | None) -> dict[str, Any]:
    """All variants with one seed."""
    torch.set_num_threads(1)
    # Runs this short are often warned of.
    warnings.filterwarnings("ignore", message="collapse")
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        store, hidden = hide(log, share, seed, Path(name) / "store")
        for variant, config in VARIANTS.items():
            changes = SETTINGS | {"training.seed": seed}
            changes |= {} if epochs is None else {"training.max_epochs": epochs}
            recipe = find("next-item").override(changes).model_copy(update={"negatives": config})
            folder, started = Path(name) / variant, time.monotonic()
            run = pretrain(store, recipe, folder)
            scores = {one.metric: one.value for one in evaluate(run, store)}
            found[variant] = {
                "ndcg@10": scores["ndcg@10"],
                "seconds": round(time.monotonic() - started, 1),
                "epochs": run.meta["epochs"],
            } | mined(store, folder, config, hidden)
            print(seed, variant, found[variant], flush=True)
    return found


def differences(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """What the questions ask, seed by seed."""

    def of(variant: str, name: str) -> list[float]:
        return [one[variant][name] for one in cells]

    pairs = {
        "ndcg@10, hard minus uniform": (of("hard", "ndcg@10"), of("uniform", "ndcg@10")),
        "ndcg@10, hard minus uniform, 8 candidates": (
            of("hard, 8 candidates", "ndcg@10"),
            of("uniform", "ndcg@10"),
        ),
    }
    for end in ("", ", 8 candidates"):
        hard, denoised = f"hard{end}", f"denoised{end}"
        pairs |= {
            f"hidden share by weight minus plain{end}": (
                of(denoised, "hidden_share_by_weight"),
                of(denoised, "hidden_share"),
            ),
            f"ndcg@10, denoised minus hard{end}": (of(denoised, "ndcg@10"), of(hard, "ndcg@10")),
        }
    return {name: interval([a - b for a, b in zip(*pair, strict=True)]) for name, pair in pairs.items()}


def main() -> None:
    """Run all cells and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--hidden", type=float, default=0.3, help="share of the training events to hide")
    parser.add_argument("--epochs", type=int, help="at most; 8 unless given")
    parser.add_argument("--jobs", type=int, default=2, help="seeds at once, of one thread each")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    started = time.monotonic()
    source = Path(os.environ["USERMODEL_DATA_DIR"]) / "ml-100k"
    log = (
        read_data_set("movielens-100k", source).log.scan().select("user_id", "item_id", "timestamp").collect()
    )
    # As a store orders it; what is later in a file is later among equal times.
    log = log.sort("user_id", "timestamp", maintain_order=True)
    # What was looked at while the sampler was made had seed 0.
    seeds = range(1, 1 + arguments.seeds)
    with ProcessPoolExecutor(arguments.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = [pool.submit(cell, log, arguments.hidden, seed, arguments.epochs) for seed in seeds]
        cells = [one.result() for one in waiting]
    names = {
        variant: [
            key for key, value in cells[0][variant].items() if isinstance(value, float) and key != "seconds"
        ]
        for variant in VARIANTS
    }
    result = {
        "command": shlex.join(["python", "benchmarks/quality/denoised.py", *sys.argv[1:]]),
        "data": "MovieLens-100K, all ratings",
        "hidden": arguments.hidden,
        "seeds": arguments.seeds,
        "settings": SETTINGS,
        "negatives": {variant: config.to_dict() for variant, config in VARIANTS.items()},
        "scores": {
            variant: {name: interval([one[variant][name] for one in cells]) for name in kept}
            for variant, kept in names.items()
        },
        "differences": differences(cells),
        "cells": cells,
        "total_seconds": round(time.monotonic() - started),
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores, {arguments.jobs} runs at once of 1 thread each",
        "versions": {"usermodel": um.__version__, "torch": torch.__version__},
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["differences"], indent=1))


if __name__ == "__main__":
    main()
