"""CML beside BPR-MF at equal width: recall@50 on MovieLens-100K, several seeds.

    python benchmarks/quality/metric_learning.py --out benchmarks/results/metric_learning.json

Every rated pair is a positive. A seed draws a fifth of them for the test, and a tenth of the rest for validation, whose
recall@50 alone decides at which epoch a model is taken. CML has the published settings (20 draws, AdaGrad at 0.1, ball of
radius 1) without the penalty on covariance; BPR-MF has one draw, Adam and the trainer's rate of 0.01. The order of
the two is reported; nothing is promised. Data: $USERMODEL_DATA_DIR.
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
from seeds import interval

import usermodel as um
from usermodel.ann.flat import FlatIndex
from usermodel.baselines.factors import FactorModel
from usermodel.baselines.fit import FitConfig, fit
from usermodel.baselines.interactions import Interactions
from usermodel.baselines.matrix_factorization import MatrixFactorization
from usermodel.baselines.metric_learning import MetricHinge, MetricLearning
from usermodel.baselines.pair_losses import Bpr
from usermodel.events.data_sets import read_data_set
from usermodel.negatives.uniform import Uniform
from usermodel.store.build import build_store

DIM, TOP = 50, 50
COMMON = {"epochs": 15, "batch_pairs": 2048, "validate_every": 3}
BPR = {"learning_rate": 0.01, "l2": 0.01}
CML = {"learning_rate": 0.1, "optimiser": "adagrad"}
MARGIN = 1.5
VARIANTS = ("bpr-mf", "cml")


def recall(scores: ndarray, seen: ndarray, wanted: ndarray) -> float:
    """Share of each user's wanted pairs among the first `TOP` that were not seen, mean over users who have any."""
    top = np.argpartition(-np.where(seen, -np.inf, scores), TOP, axis=1)[:, :TOP]
    found, n = np.take_along_axis(wanted, top, 1).sum(1), wanted.sum(1)
    return float((found[n > 0] / n[n > 0]).mean())


def same_order_as_index(model: MetricLearning) -> bool:
    """Whether a flat index of the scorer's vectors finds the items that are nearest by distance, for each user."""
    users, items = (table.detach() for table in model.tables())
    scorer = model.scorer()
    _, found = FlatIndex.build(scorer.items.numpy()).search(scorer.users.numpy(), TOP)
    distance = torch.cdist(users.double(), items.double())
    ours = distance.gather(1, torch.from_numpy(found.astype(np.int64)))
    # Two items as far away as float32 can tell may change places.
    return bool(torch.allclose(ours, distance.sort(1).values[:, :TOP], atol=1e-6, rtol=0))


def cell(variant: str, positive: ndarray, seed: int) -> dict[str, Any]:
    """Train one variant with one seed."""
    rng, shape = np.random.default_rng(seed), positive.shape
    test = positive & (rng.random(shape) < 0.2)
    valid = positive & ~test & (rng.random(shape) < 0.1)
    train = positive & ~test & ~valid
    user, item = np.nonzero(train)
    pairs = Interactions.from_arrays(user, item + 1, n_users=shape[0], n_items=shape[1])
    torch.manual_seed(seed)
    model: FactorModel
    if variant == "bpr-mf":
        model, loss, settings = MatrixFactorization(*shape, DIM), Bpr(1), COMMON | BPR
    else:
        model, settings = MetricLearning(*shape, DIM), COMMON | CML
        loss = MetricHinge(shape[1], margin=MARGIN)

    def validate(one: FactorModel) -> float:
        return recall(one.scorer().scores(np.arange(shape[0])).numpy(), train, valid)

    done = fit(
        model,
        pairs,
        loss,
        Uniform(shape[1], shared=False),
        FitConfig(**settings, seed=seed),
        validate=validate,
    )
    scores = model.scorer().scores(np.arange(shape[0])).numpy()
    found = {f"recall@{TOP}": recall(scores, train | valid, test), "epoch": done.best_epoch}
    found["seconds"] = round(done.seconds, 1)
    if isinstance(model, MetricLearning):
        found["longest_vector"] = max(float(t.detach().norm(dim=1).max()) for t in model.tables())
        found["index_has_the_order_of_distances"] = same_order_as_index(model)
    return found


def main() -> None:
    """Run all seeds and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
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
        print(seed, rows[-1], flush=True)
    scores: dict[str, Any] = {}
    for variant in VARIANTS:
        values = [row[variant][f"recall@{TOP}"] for row in rows]
        scores[variant] = interval(values) | {"seeds": values}
        if variant != "bpr-mf":
            base = [row["bpr-mf"][f"recall@{TOP}"] for row in rows]
            scores[variant]["minus bpr-mf"] = interval([a - b for a, b in zip(values, base, strict=True)])
    result = {
        "command": shlex.join(["python", "benchmarks/quality/metric_learning.py", *sys.argv[1:]]),
        "settings": {"dim": DIM, "common": COMMON, "bpr-mf": BPR, "cml": CML | {"margin": MARGIN}},
        "seeds": arguments.seeds,
        f"recall@{TOP}": scores,
        "rows": rows,
        "total_seconds": round(time.monotonic() - started),
        "hardware": f"{platform.machine()}, 1 thread",
        "versions": {"usermodel": um.__version__, "torch": torch.__version__},
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
