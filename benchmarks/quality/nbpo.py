"""Does NBPO find positives whose label was taken away? MovieLens-100K, one of five positives hidden, several seeds.

    python benchmarks/quality/nbpo.py --out benchmarks/results/nbpo.json

Every rated pair is a positive, and a fifth of them, drawn by the seed, is hidden: training sees it as unlabelled, like the pairs that
were never rated, which count as true negatives. Of each model: the AUC of hidden positives against true negatives by its score
alone, and for NBPO by the posterior probability that a pair is a positive whose label flipped; the mean posterior of either
kind; and how well hidden positives are found in the top 50 (recall over the hidden, training pairs left out). BPO is the
same without flips. Nothing is tuned: widths, negatives a pair and first flip vectors are the published ones, Adam and its
learning rate are ours. Data: $USERMODEL_DATA_DIR.
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
import torch
from numpy import ndarray
from scipy.stats import rankdata
from seeds import interval

import usermodel as um
from usermodel.baselines.factors import PairLoss
from usermodel.baselines.fit import FitConfig, fit
from usermodel.baselines.interactions import Interactions
from usermodel.baselines.matrix_factorization import MatrixFactorization
from usermodel.baselines.nbpo import Bpo, Nbpo
from usermodel.events.data_sets import read_data_set
from usermodel.losses.nbpo import flip_posterior
from usermodel.negatives.uniform import Uniform
from usermodel.store.build import build_store

DIM, HIDDEN, TOP = 50, 0.2, 50
SETTINGS = {"epochs": 40, "batch_pairs": 5000, "learning_rate": 0.005, "decay": 0.99, "l2": 0.001}
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


def cell(variant: str, positive: ndarray, seed: int) -> dict[str, float]:
    """Train one variant with one seed."""
    hidden = positive & (np.random.default_rng(seed).random(positive.shape) < HIDDEN)
    seen = positive & ~hidden
    user, item = np.nonzero(seen)
    n_users, n_items = positive.shape
    pairs = Interactions.from_arrays(user, item + 1, n_users=n_users, n_items=n_items)
    torch.manual_seed(seed)
    model = MatrixFactorization(n_users, n_items, DIM)
    loss: PairLoss = Bpo() if variant == "bpo" else Nbpo(n_users, n_items, dim=DIM, form=FORMS[variant])
    config = FitConfig(**SETTINGS, seed=seed, known_negatives="leave-out")
    fit(model, pairs, loss, Uniform(n_items, shared=False), config)
    scores = model.scorer().scores(np.arange(n_users))
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
            "mean posterior of true negatives": float(posterior[~positive].mean()),
        }
    return found


def main() -> None:
    """Run all seeds and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    started, rows = time.monotonic(), []
    with tempfile.TemporaryDirectory() as name:
        prepared = read_data_set("movielens-100k", Path(os.environ["USERMODEL_DATA_DIR"]) / "ml-100k")
        store = build_store(prepared.log, Path(name) / "store")
        positive = np.zeros((store.n_users, store.n_items), dtype=bool)
        positive[np.repeat(np.arange(store.n_users), np.diff(store.offsets)), store.items - 1] = True
    for seed in range(arguments.seeds):
        rows.append({variant: cell(variant, positive, seed) for variant in VARIANTS})
        print(
            seed,
            {name: {k: round(v, 4) for k, v in one.items()} for name, one in rows[-1].items()},
            flush=True,
        )
    scores: dict[str, Any] = {}
    for variant in VARIANTS:
        scores[variant] = {
            metric: interval([row[variant][metric] for row in rows])
            | {"seeds": [row[variant][metric] for row in rows]}
            for metric in rows[0][variant]
        }
        for metric, value in scores[variant].items():
            if metric in scores["bpo"] and variant != "bpo":
                above = [row[variant][metric] - row["bpo"][metric] for row in rows]
                value["minus bpo"] = interval(above)
    result = {
        "command": shlex.join(["python", "benchmarks/quality/nbpo.py", *sys.argv[1:]]),
        "settings": SETTINGS | {"dim": DIM, "hidden": HIDDEN},
        "seeds": arguments.seeds,
        "scores": scores,
        "total_seconds": round(time.monotonic() - started),
        "hardware": f"{platform.machine()}, 1 thread",
        "versions": {"usermodel": um.__version__, "torch": torch.__version__},
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
