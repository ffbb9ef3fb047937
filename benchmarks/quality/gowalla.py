"""Collaborative filtering on Gowalla as LightGCN splits it: which model, which loss, which negatives?

    python benchmarks/quality/gowalla.py --part valid --runs lightgcn-softmax --out valid.json
    python benchmarks/quality/gowalla.py --out benchmarks/results/gowalla_negatives.json

``--part valid`` trains on the training part and looks at the validation part every few epochs: for choosing. What of the numbers
below was chosen so is said beside them; none was chosen on the test part. ``--part test``, the default, trains on training and
validation parts together, which is the training list of the published split, and scores the test part once. Data:
$USERMODEL_DATA_DIR/gowalla-lightgcn/{train,valid,test}.txt.gz. One JSON object; runs that it has already are kept, so that a
stopped command goes on.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import os
import platform
import shlex
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from gowalla_data import open_store
from seeds import interval

from usermodel.baselines.factors import FactorModel, PairLoss
from usermodel.baselines.fit import FitConfig, fit
from usermodel.baselines.interactions import Interactions
from usermodel.baselines.light_gcn import LightGcn
from usermodel.baselines.matrix_factorization import MatrixFactorization
from usermodel.baselines.pair_losses import Bpr, SampledSoftmax, UserSoftmax
from usermodel.events.splits import Split
from usermodel.store.sequence_store import SequenceStore
from usermodel.tasks.held_out_items import HeldOutItems
from usermodel.training.epochs import EpochReport

METRICS = ("recall@20", "ndcg@20")
#: Of the lists: mean training events of their items, the same by that of the user's history, share of the items in any list.
POPULARITY = ("arp@20", "popularity_bias@20", "coverage@20")
PUBLISHED = [
    {"model": "LightGCN, log of its release", "recall@20": 0.1824, "ndcg@20": 0.1554, "verified": True},
    {"model": "LightGCN, paper", "recall@20": 0.1830, "ndcg@20": 0.1554, "verified": False},
    {"model": "NGCF", "recall@20": 0.1570, "ndcg@20": 0.1327, "verified": False},
    {"model": "SimpleX", "recall@20": 0.1872, "ndcg@20": 0.1557, "verified": True},
]
Models = Callable[[Interactions], FactorModel]
#: Import paths of configurations of samplers, and their options.
SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "uniform": ("usermodel.negatives.uniform:UniformConfig", {}),
    "popularity": ("usermodel.negatives.popularity:PopularityConfig", {"alpha": 0.75}),
    "in-batch": ("usermodel.negatives.in_batch:InBatchConfig", {}),
    "hard": ("usermodel.negatives.hard:HardConfig", {"candidates": 32, "unseen": True}),
}


@dataclass(frozen=True)
class Run:
    """One line of the table.

    Attributes:
        model: Builds it.
        loss: Builds it for a temperature.
        fit: How.
        sampler: One of `SAMPLERS`; empty for a loss without.
        own: Whether each pair has negatives of its own.
        temperature: Of the loss.
    """

    model: Models
    loss: Callable[[float], PairLoss]
    fit: FitConfig
    sampler: str = ""
    own: bool = False
    temperature: float = 0.1


def _light_gcn(pairs: Interactions) -> FactorModel:
    return LightGcn(pairs, cosine=True)


def _factors(pairs: Interactions) -> FactorModel:
    return MatrixFactorization(pairs.n_users, pairs.n_items, cosine=True)


#: Chosen on the validation part (a quarter of its users) with LightGCN: after 9 epochs it was better than after 3 and 6, and
#: vectors of length 1 at temperature 0.1 better than inner products after 3. Longer training, other temperatures and other learning
#: rates were not tried, and matrix factorisation has the same numbers unseen.
WHOLE = FitConfig(batch_users=512, learning_rate=1e-2, precision="bfloat16", epochs=9)
#: Set by hand, not chosen on anything.
PAIRS = FitConfig(batch_pairs=8192, learning_rate=1e-2, epochs=20)
#: Eq. 15 of LightGCN with its script's defaults; five epochs of the thousand.
AS_PUBLISHED = FitConfig(batch_pairs=2048, learning_rate=1e-3, l2=1e-4, epochs=5)
RUNS: dict[str, Run] = {}
for _name, _model in (("mf", _factors), ("lightgcn", _light_gcn)):
    RUNS[f"{_name}-softmax"] = Run(_model, lambda t: UserSoftmax(temperature=t), WHOLE)
    for _sampler in ("uniform", "popularity", "in-batch"):
        RUNS[f"{_name}-sampled-{_sampler}"] = Run(
            _model, lambda t: SampledSoftmax(1024, temperature=t), PAIRS, _sampler
        )
    for _sampler in ("uniform", "popularity", "hard"):
        RUNS[f"{_name}-bpr-{_sampler}"] = Run(_model, lambda t: Bpr(temperature=t), PAIRS, _sampler, own=True)
RUNS["lightgcn-as-published-5-epochs"] = Run(
    LightGcn, lambda t: Bpr(temperature=t), AS_PUBLISHED, "uniform", own=True, temperature=1.0
)


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


def one_run(
    name: str, run: Run, options: argparse.Namespace, store: SequenceStore, split: Split
) -> dict[str, Any]:
    """Train and score."""
    part, config = options.part, run.fit
    pairs = Interactions.from_store(store, split)
    task = HeldOutItems(part, split, METRICS, "normal")
    curve, reports = [], []
    torch.manual_seed(config.seed)
    model = run.model(pairs)

    def on_epoch(report: EpochReport) -> None:
        reports.append(report)
        print(f"{name}: epoch {report.epoch}, loss {report.loss:.4f}, {report.seconds:.1f} s", flush=True)
        if part == "valid" and (report.epoch % options.every == 0 or report.epoch == config.epochs):
            rows = task.score(model.scorer(), store, task.requests(store))
            curve.append({"epoch": report.epoch, **{row.metric: round(row.value, 5) for row in rows}})
            print(f"{name}: {curve[-1]}", flush=True)

    begin = time.perf_counter()
    fit(model, pairs, run.loss(run.temperature), build_sampler(run, store, split), config, on_epoch=on_epoch)
    wall = time.perf_counter() - begin
    task = HeldOutItems(task.part, split, (*METRICS, *POPULARITY))
    rows = task.score(model.scorer(), store, task.requests(store))
    return {
        "run": name,
        "part": part,
        "seed": config.seed,
        "sampler": run.sampler or "none: all items",
        "temperature": run.temperature,
        "fit": config.to_dict(),
        "epochs": len(reports),
        "seconds": round(sum(one.seconds for one in reports), 1),
        "seconds_with_validation": round(wall, 1),
        "loss": [round(one.loss, 5) for one in reports],
        "curve": curve,
        "results": {row.metric: {"value": row.value, "low": row.low, "high": row.high} for row in rows},
        "definitions": {row.metric: row.definition for row in rows},
        "threads": torch.get_num_threads(),
    }


def changed(run: Run, options: argparse.Namespace, seed: int) -> Run:
    """With the seed and what the command line says."""
    given = dict(text.split("=", 1) for text in options.set)
    fit = run.fit.override({key: json.loads(value) for key, value in given.items()} | {"seed": seed})
    return replace(run, fit=fit, temperature=options.temperature or run.temperature)


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean over seeds and half of its 95 % interval, by run and metric."""
    found: dict[str, dict[str, list[float]]] = {}
    for run in runs:
        for metric, one in run["results"].items():
            found.setdefault(f"{run['run']} ({run['part']})", {}).setdefault(metric, []).append(one["value"])
    return {
        name: {metric: interval(values) for metric, values in metrics.items()}
        for name, metrics in found.items()
    }


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", nargs="+", choices=sorted(RUNS), default=sorted(RUNS))
    parser.add_argument("--part", choices=("valid", "test"), default="test")
    parser.add_argument(
        "--every", type=int, default=3, help="epochs between two looks at the validation part"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--set", nargs="*", default=[], help="of FitConfig: learning_rate=0.02")
    parser.add_argument("--temperature", type=float, help="instead of the run's own")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def main() -> None:
    """Do the runs that the file does not have."""
    options = arguments()
    result: dict[str, Any] = {"runs": []}
    if options.out.exists():
        result = json.loads(options.out.read_text())
    done = {(run["run"], run["part"], run["temperature"], json.dumps(run["fit"])) for run in result["runs"]}
    with tempfile.TemporaryDirectory() as work:
        folder = Path(os.environ["USERMODEL_DATA_DIR"]) / "gowalla-lightgcn"
        store, held, full = open_store(folder, Path(work) / "store")
        split = held if options.part == "valid" else full
        for name, seed in itertools.product(options.runs, options.seeds):
            run = changed(RUNS[name], options, seed)
            if (name, options.part, run.temperature, json.dumps(run.fit.to_dict())) in done:
                continue
            result["runs"].append(one_run(name, run, options, store, split))
            result |= {
                "command": "python benchmarks/quality/gowalla.py " + shlex.join(sys.argv[1:]),
                "data": {"users": store.n_users, "items": store.n_items, "parts": held.counts()},
                "protocol": "part=test: trained on train and valid; part=valid: trained on train",
                "published": PUBLISHED,
                "versions": {"python": platform.python_version(), "torch": torch.__version__},
                "summary": summary(result["runs"]),
            }
            options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
