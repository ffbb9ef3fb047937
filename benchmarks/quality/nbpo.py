"""Does NBPO find positives whose label was taken away? MovieLens-100K, one of five positives hidden, several seeds.

    python benchmarks/quality/nbpo.py --out benchmarks/results/nbpo.json

Every rated pair is a positive, and a fifth of them, drawn by the seed, is hidden: training sees it as unlabelled, like the pairs that
were never rated, which count as true negatives. Of each model: the AUC of hidden positives against true negatives by its score
alone, and for NBPO by the posterior probability that a pair is a positive whose label flipped; the mean posterior of either
kind; and how well hidden positives are found in the top 50 (recall over the hidden, training pairs left out), all after 5
and 10 epochs of the same run. BPO is the same without flips. Widths, negatives a pair and first flip vectors are the
published ones; Adam, its learning rate and the epochs are ours, set for time after traces of other seeds had been seen. Data: $USERMODEL_DATA_DIR.
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
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from scipy.stats import rankdata
from seeds import interval

import usermodel as um
from usermodel.baselines.factors import FactorModel, PairLoss
from usermodel.baselines.fit import FitConfig, fit
from usermodel.baselines.interactions import Interactions
from usermodel.baselines.matrix_factorization import MatrixFactorization
from usermodel.baselines.nbpo import Bpo, Nbpo
from usermodel.events.data_sets import read_data_set
from usermodel.losses.nbpo import flip_posterior
from usermodel.negatives.uniform import Uniform
from usermodel.store.build import build_store
from usermodel.training.epochs import EpochReport

DIM, HIDDEN, TOP = 50, 0.2, 50
EPOCHS = (5, 10)
SETTINGS = {"epochs": EPOCHS[-1], "batch_pairs": 5000, "learning_rate": 0.01, "decay": 0.99, "l2": 0.001}
VARIANTS = ("bpo", "nbpo", "nbpo-o", "nbpo-s")
FORMS = {"nbpo": "surrogate", "nbpo-o": "likelihood", "nbpo-s": "probability"}


def auc(value: ndarray, truth: ndarray) -> float:
    """Probability that a hidden positive is above a true negative, ties half."""
    n = int(truth.sum())
    above = rankdata(value)[truth].sum() - n * (n + 1) / 2
    return float(above / (n * (len(truth) - n)))


def recall(scores: ndarray, seen: ndarray, hidden: ndarray) -> float:
    """Share of each user's hidden positives among the first `TOP` pairs that training did not see, mean over users."""
    scores = np.where(seen, -np.inf, scores)
    top = np.argpartition(-scores, TOP, axis=1)[:, :TOP]
    found, wanted = np.take_along_axis(hidden, top, 1).sum(1), hidden.sum(1)
    return float((found[wanted > 0] / wanted[wanted > 0]).mean())


def measures(model: FactorModel, loss: PairLoss, seen: ndarray, hidden: ndarray) -> dict[str, float]:
    """What a model says of the pairs that training did not see."""
    scores = model.scorer().scores(np.arange(len(seen)))
    unlabelled, truth = ~seen, hidden[~seen]
    found = {
        "auc by score": auc(scores.numpy()[unlabelled], truth),
        f"recall@{TOP} by score": recall(scores.numpy(), seen, hidden),
    }
    if isinstance(loss, Nbpo):
        posterior = flip_posterior(scores, loss.users.detach() @ loss.items.detach().T).numpy()
        found |= {
            "auc by posterior": auc(posterior[unlabelled], truth),
            f"recall@{TOP} by posterior": recall(posterior, seen, hidden),
            "mean posterior of hidden positives": float(posterior[hidden].mean()),
            "mean posterior of true negatives": float(posterior[unlabelled][~truth].mean()),
        }
    return found


def cell(variant: str, positive: ndarray, seed: int) -> dict[str, dict[str, float]]:
    """Train one variant with one seed; its measures after each number of epochs of `EPOCHS`."""
    torch.set_num_threads(1)
    hidden = positive & (np.random.default_rng(seed).random(positive.shape) < HIDDEN)
    seen = positive & ~hidden
    user, item = np.nonzero(seen)
    n_users, n_items = positive.shape
    pairs = Interactions.from_arrays(user, item + 1, n_users=n_users, n_items=n_items)
    torch.manual_seed(seed)
    model = MatrixFactorization(n_users, n_items, DIM)
    loss: PairLoss = Bpo() if variant == "bpo" else Nbpo(n_users, n_items, dim=DIM, form=FORMS[variant])
    found = {}

    def look(report: EpochReport) -> None:
        if report.epoch in EPOCHS:
            found[f"{report.epoch} epochs"] = measures(model, loss, seen, hidden)

    fit(model, pairs, loss, Uniform(n_items, shared=False), FitConfig(**SETTINGS, seed=seed), on_epoch=look)
    return found


def main() -> None:
    """Run all seeds and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="runs at once, of one thread each")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        prepared = read_data_set("movielens-100k", Path(os.environ["USERMODEL_DATA_DIR"]) / "ml-100k")
        store = build_store(prepared.log, Path(name) / "store")
        positive = np.zeros((store.n_users, store.n_items), dtype=bool)
        positive[np.repeat(np.arange(store.n_users), np.diff(store.offsets)), store.items - 1] = True
    todo = [(variant, seed) for seed in range(arguments.seeds) for variant in VARIANTS]
    spawn, cells = multiprocessing.get_context("spawn"), {}
    with ProcessPoolExecutor(arguments.jobs, mp_context=spawn) as pool:
        waiting = {pool.submit(cell, variant, positive, seed): (variant, seed) for variant, seed in todo}
        for done in as_completed(waiting):
            cells[waiting[done]] = done.result()
            print(*waiting[done], done.result(), flush=True)
    scores: dict[str, Any] = {}
    for epochs in cells[todo[0]]:
        for variant in VARIANTS:
            rows = [cells[variant, seed][epochs] for seed in range(arguments.seeds)]
            base = [cells["bpo", seed][epochs] for seed in range(arguments.seeds)]
            found = {}
            for metric in rows[0]:
                values = [row[metric] for row in rows]
                found[metric] = interval(values) | {"seeds": values}
                # A posterior is held against the score of the model without flips.
                plain = metric.replace("posterior", "score")
                if variant != "bpo" and plain in base[0]:
                    above = [value - one[plain] for value, one in zip(values, base, strict=True)]
                    found[metric]["minus bpo by score"] = interval(above)
            scores.setdefault(epochs, {})[variant] = found
    result = {
        "command": shlex.join(["python", "benchmarks/quality/nbpo.py", *sys.argv[1:]]),
        "settings": SETTINGS | {"dim": DIM, "hidden": HIDDEN},
        "seeds": arguments.seeds,
        "scores": scores,
        "total_seconds": round(time.monotonic() - started),
        "hardware": f"{platform.machine()}, {arguments.jobs} runs at once of 1 thread each",
        "versions": {"usermodel": um.__version__, "torch": torch.__version__},
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
