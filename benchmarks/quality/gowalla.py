"""Collaborative filtering on Gowalla as LightGCN splits it: which model, which loss, which negatives?

    python benchmarks/quality/gowalla.py --part valid --runs lightgcn-softmax --out valid.json
    python benchmarks/quality/gowalla.py --out benchmarks/results/gowalla_negatives.json

``--part valid`` trains on the training part and looks at the validation part every few epochs: hyper-parameters and the number of
epochs below were chosen that way, and on nothing else. ``--part test``, the default, trains on training and validation parts
together, which is the training list of the published split, for that number of epochs, and scores the test part once. Data:
$USERMODEL_DATA_DIR/gowalla-lightgcn/{train,valid,test}.txt.gz. One JSON object; runs that it has already are kept, so that a
stopped command goes on.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import shlex
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from gowalla_data import open_store

from usermodel.baselines.factors import FactorModel, PairLoss
from usermodel.baselines.fit import EpochReport, FitConfig, fit
from usermodel.baselines.interactions import Interactions
from usermodel.baselines.light_gcn import LightGcn
from usermodel.baselines.matrix_factorization import MatrixFactorization
from usermodel.baselines.pair_losses import Bpr, SampledSoftmax, UserSoftmax
from usermodel.events.splits import Split
from usermodel.store.sequence_store import SequenceStore
from usermodel.tasks.held_out_items import HeldOutItems

METRICS = ("recall@20", "ndcg@20")
#: Of the lists: mean training events of their items, the same by that of the user's history, share of the items in any list.
POPULARITY = ("arp@20", "popularity_bias@20", "coverage@20")
PUBLISHED = [
    {"model": "LightGCN", "recall@20": 0.1830, "ndcg@20": 0.1554, "verified": True},
    {"model": "NGCF", "recall@20": 0.1570, "ndcg@20": 0.1327, "verified": False},
    {"model": "SimpleX", "recall@20": 0.1872, "ndcg@20": 0.1557, "verified": True},
]
Models = Callable[[Interactions], FactorModel]
#: Import paths of configurations of samplers, and their options.
SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "uniform": ("usermodel.negatives.uniform:UniformConfig", {}),
    "popularity": ("usermodel.negatives.popularity:PopularityConfig", {"alpha": 0.75}),
    "in-batch": ("usermodel.negatives.in_batch:InBatchConfig", {}),
    "hard": ("usermodel.negatives.hard:HardConfig", {"candidates": 32}),
}


@dataclass(frozen=True)
class Run:
    """One line of the table.

    Attributes:
        model: Builds it.
        loss: Builds it.
        fit: How; ``epochs`` were chosen on the validation part.
        sampler: One of `SAMPLERS`; empty for a loss without.
        own: Whether each pair has negatives of its own.
    """

    model: Models
    loss: Callable[[], PairLoss]
    fit: FitConfig
    sampler: str = ""
    own: bool = False


def _light_gcn(pairs: Interactions) -> FactorModel:
    return LightGcn(pairs, cosine=True)


def _factors(pairs: Interactions) -> FactorModel:
    return MatrixFactorization(pairs.n_users, pairs.n_items, cosine=True)


WHOLE = FitConfig(batch_users=512, learning_rate=1e-2, precision="bfloat16", epochs=12)
PAIRS = FitConfig(batch_pairs=8192, learning_rate=1e-2, epochs=20)
#: Eq. 15 of LightGCN with its script's defaults; five epochs of the thousand.
AS_PUBLISHED = FitConfig(batch_pairs=2048, learning_rate=1e-3, l2=1e-4, epochs=5)
RUNS: dict[str, Run] = {}
for _name, _model in (("mf", _factors), ("lightgcn", _light_gcn)):
    RUNS[f"{_name}-softmax"] = Run(_model, lambda: UserSoftmax(temperature=0.1), WHOLE)
    for _sampler in ("uniform", "popularity", "in-batch"):
        RUNS[f"{_name}-sampled-{_sampler}"] = Run(
            _model, lambda: SampledSoftmax(1024, temperature=0.1), PAIRS, _sampler
        )
    for _sampler in ("uniform", "popularity", "hard"):
        RUNS[f"{_name}-bpr-{_sampler}"] = Run(_model, lambda: Bpr(temperature=0.1), PAIRS, _sampler, own=True)
RUNS["lightgcn-as-published-5-epochs"] = Run(LightGcn, Bpr, AS_PUBLISHED, "uniform", own=True)


def build_sampler(run: Run, store: SequenceStore, split: Split) -> Any:
    """The sampler of a run; one that has a choice is told whether pairs share its draws."""
    if not run.sampler:
        return None
    path, options = SAMPLERS[run.sampler]
    module, _, name = path.partition(":")
    kind = getattr(importlib.import_module(module), name)
    if "shared" in kind.model_fields:
        options = options | {"shared": not run.own}
    return kind(**options).build(store, split)


def measure(model: FactorModel, task: HeldOutItems, store: SequenceStore) -> dict[str, Any]:
    """Means, and intervals over users."""
    rows = task.score(model.scorer(), store, task.requests(store))
    return {row.metric: {"value": row.value, "low": row.low, "high": row.high, "n": row.n} for row in rows}


def one_run(
    name: str, part: str, every: int, seed: int, store: SequenceStore, split: Split
) -> dict[str, Any]:
    """Train and score."""
    run = RUNS[name]
    pairs = Interactions.from_store(store, split)
    task = HeldOutItems(part="valid" if part == "valid" else "test", split=split, metrics=METRICS)
    curve, reports = [], []
    torch.manual_seed(seed)
    model = run.model(pairs)
    config = run.fit.model_copy(update={"seed": seed})

    def on_epoch(report: EpochReport) -> None:
        reports.append(report)
        print(f"{name}: epoch {report.epoch}, loss {report.loss:.4f}, {report.seconds:.1f} s", flush=True)
        if part == "valid" and (report.epoch % every == 0 or report.epoch == config.epochs):
            found = {metric: one["value"] for metric, one in measure(model, task, store).items()}
            curve.append({"epoch": report.epoch, **found})
            print(f"{name}: {curve[-1]}", flush=True)

    begin = time.perf_counter()
    fit(model, pairs, run.loss(), build_sampler(run, store, split), config, on_epoch=on_epoch)
    wall = time.perf_counter() - begin
    task = HeldOutItems(task.part, split, (*METRICS, *POPULARITY))
    return {
        "run": name,
        "part": part,
        "seed": seed,
        "sampler": run.sampler or "none: all items",
        "fit": config.to_dict(),
        "epochs": len(reports),
        "seconds": round(sum(one.seconds for one in reports), 1),
        "seconds_with_validation": round(wall, 1),
        "loss": [round(one.loss, 5) for one in reports],
        "curve": curve,
        "results": measure(model, task, store),
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    """Do the runs that the file does not have."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", nargs="+", choices=sorted(RUNS), default=sorted(RUNS))
    parser.add_argument("--part", choices=("valid", "test"), default="test")
    parser.add_argument(
        "--every", type=int, default=3, help="epochs between two looks at the validation part"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    result: dict[str, Any] = {"runs": []}
    if arguments.out.exists():
        result = json.loads(arguments.out.read_text())
    done = {(run["run"], run["part"], run["seed"]) for run in result["runs"]}
    with tempfile.TemporaryDirectory() as work:
        folder = Path(os.environ["USERMODEL_DATA_DIR"]) / "gowalla-lightgcn"
        store, held, full = open_store(folder, Path(work) / "store")
        split = held if arguments.part == "valid" else full
        for seed in arguments.seeds:
            for name in arguments.runs:
                if (name, arguments.part, seed) in done:
                    continue
                result["runs"].append(one_run(name, arguments.part, arguments.every, seed, store, split))
                task = HeldOutItems(split=split, metrics=(*METRICS, *POPULARITY), interval="normal")
                result |= {
                    "command": "python benchmarks/quality/gowalla.py " + shlex.join(sys.argv[1:]),
                    "data": {"users": store.n_users, "items": store.n_items, "parts": full.counts()},
                    "protocol": f"{task.card.question} Trained on train and valid for part=test, on train for part=valid.",
                    "published": PUBLISHED,
                    "versions": {"python": platform.python_version(), "torch": torch.__version__},
                }
                arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
