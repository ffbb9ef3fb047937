"""Seconds per training epoch beside a peer that does the same work in the same run.

    python benchmarks/speed/train.py --job beauty-epoch --peer plain --json benchmarks/results/train-beauty-epoch-plain.json

Jobs: beauty-epoch (window of 50), ml-1m-epoch (window of 200). Data: $USERMODEL_DATA_DIR. Peers: a plain PyTorch script,
or a library in the environment that `make peers` builds; what each does is said at the head of train_PEER.py. Each side
runs in a process of its own, in turns; the first epoch of a process is left out, and medians are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from side_by_side import ROOT, measure, python_of, write
from side_by_side import facts as facts_of

HERE = Path(__file__).parent
PEERS = ("none", "plain", "recbole", "rectools")
#: Log below the data folder, options of the recipe, seconds to reach, and the result that says what is reached when this
#: configuration is trained out.
JOBS: dict[str, tuple[str, list[str], float | None, str]] = {
    "beauty-epoch": ("amazon-beauty/Beauty.txt.gz", [], 4.0, "next_item_beauty.json"),
    "ml-1m-epoch": ("ml-1m/ml-1m_icsrec.txt.gz", ["encoder.max_history=200"], None, "next_item_ml_1m.json"),
}
#: Rate of a large product in the type of the loss's products, which are most of a step.
GEMM = """
import sys, time, torch
dtype = torch.bfloat16 if sys.argv[1] == "bf16" else torch.float32
a, b = torch.randn(2048, 2048).to(dtype), torch.randn(2048, 2048).to(dtype)
best = 1e9
for _ in range(12):
    started = time.perf_counter(); a @ b; best = min(best, time.perf_counter() - started)
print(2 * 2048**3 / best / 1e9)
"""


def main() -> None:
    """Run both sides and write one flat object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", choices=sorted(JOBS), default="beauty-epoch")
    parser.add_argument("--peer", choices=PEERS, default="plain")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3, help="epochs a process, the first left out")
    args = parser.parse_args()
    log, options, goal, _ = JOBS[args.job]
    source = Path(os.environ["USERMODEL_DATA_DIR"]).resolve() / log
    sides = {"ours": [sys.executable, str(HERE / "train_ours.py")]}
    if args.peer != "none":
        sides["peer"] = [python_of(args.peer), str(HERE / f"train_{args.peer}.py")]
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    peaks: dict[str, list[float]] = {name: [] for name in sides}
    facts: dict[str, dict[str, Any]] = {}
    gemm = []
    for _ in range(args.repeat):
        for name, command in sides.items():
            with tempfile.TemporaryDirectory(prefix="usermodel-train-") as folder:
                out = Path(folder) / "out.json"
                arguments = [str(source), str(args.epochs), str(out), *options]
                _, peak = measure([*command, *arguments], Path(folder))
                found = json.loads(out.read_text())
            facts[name] = found
            seconds[name] += found["seconds"][1:] or found["seconds"]
            peaks[name].append(peak)
            print(f"{name}: {[round(one, 2) for one in found['seconds']]} s, {peak:,.0f} MB", file=sys.stderr)
        rate = [sys.executable, "-c", GEMM, facts["ours"]["precision"]]
        gemm.append(float(subprocess.run(rate, capture_output=True, check=True).stdout))
    result = report(args, goal, seconds, peaks, facts, max(gemm))
    write(result, args.json)


def trained_out(name: str) -> dict[str, Any]:
    """What the quality suite reached with the same configuration, and the result that says so; nothing before it ran."""
    path = ROOT / "benchmarks" / "results" / name
    if not path.exists():
        return {}
    return {
        "ndcg@10_trained_out": json.loads(path.read_text())["metrics"]["ndcg@10"]["mean"],
        "quality": name,
    }


def report(
    args: argparse.Namespace,
    goal: float | None,
    seconds: dict[str, list[float]],
    peaks: dict[str, list[float]],
    facts: dict[str, dict[str, Any]],
    gemm: float,
) -> dict[str, Any]:
    """Medians as one flat object."""
    ours = facts["ours"]
    middle = statistics.median(seconds["ours"])
    # Forward and backward of the softmax and of every dense layer: 3 times 2 operations a weight and target.
    dense = ours["parameters"] - ours["classes"] * ours["dim"]
    gflop = 6e-9 * ours["targets"] * (ours["classes"] * ours["dim"] + dense)
    result = {
        "job": f"train {args.job}",
        "seconds_per_epoch": round(middle, 3),
        "goal_seconds": goal,
        "reached": None if goal is None else middle <= goal,
        **{name: ours[name] for name in ("targets", "classes", "dropout", "max_history", "precision")},
        "targets_per_s": round(ours["targets"] / middle),
        "peak_mb": round(statistics.median(peaks["ours"]), 1),
        "gemm_gflop_s": round(gemm, 1),
        "fraction_of_gemm_rate": round(gflop / middle / gemm, 3),
        **trained_out(JOBS[args.job][3]),
        "peer": args.peer,
    }
    if "peer" in facts:
        theirs = statistics.median(seconds["peer"])
        result |= {
            "peer_seconds_per_epoch": round(theirs, 3),
            "peer_targets": facts["peer"]["targets"],
            "peer_classes": facts["peer"]["classes"],
            "peer_peak_mb": round(statistics.median(peaks["peer"]), 1),
            "ratio_to_peer": round(middle / theirs, 4),
            **{
                f"peer_{name}": facts["peer"][name]
                for name in ("batches_timed", "batches")
                if name in facts["peer"]
            },
        }
    return result | facts_of("train.py")


if __name__ == "__main__":
    main()
