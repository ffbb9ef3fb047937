"""Rows a second of training DeepFM, and what they teach, beside FuxiCTR on the same rows in the same run; and whether forward passes agree.

    python benchmarks/speed/ctr.py --rows 300000 --test-rows 100000 --json benchmarks/results/ctr-deepfm-fuxictr.json

Rows are simulated: 39 fields as in Criteo's log, 13 short and 26 long-tailed, about a million categories in all; clicks are drawn from a
factorisation machine with known weights. Both sides get numbered categories in npz files, batches of 10,000 rows, Adam at 1e-3, vectors
of 16 that begin within 0.0001 of 0, layers of 400, no penalties, the same number of epochs, and no early stopping. Seconds are those of the loops over training data,
reading them into memory and validation left out. Each side runs in a process of its own, in turns, seed by seed. For parity the peer
writes the weights and log-odds of small models, which ours then read. The peer comes from `make peers`; its wheel has layers, trainer
and loader, from which ctr_fuxictr.py puts the models together as its model zoo does.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray
from side_by_side import facts, measure, python_of, write

HERE = Path(__file__).parent
#: Categories of the short and of the long fields, before those that no row has.
SHORT = [8, 12, 20, 25, 30, 40, 50, 60, 80, 100, 120, 150, 200]
LONG = [400, 500, 700, 1_000, 1_500, 2_000, 3_000, 5_000, 8_000, 10_000, 12_000, 15_000, 20_000, 20_000, 25_000, 30_000, 40_000,
        50_000, 60_000, 70_000, 80_000, 90_000, 100_000, 110_000, 120_000, 130_000]  # fmt: skip
FACTORS, SCALE, BIAS = 4, 1.2, -1.2
EXPONENT = 1.1


def rows(sizes: list[int], n: int, seed: int) -> tuple[ndarray, ndarray]:
    """Numbered categories, from 1, and clicks."""
    rng = np.random.default_rng(seed)
    codes = np.empty((n, len(sizes)), dtype=np.int32)
    linear, total, squares = np.zeros(n), np.zeros((n, FACTORS)), np.zeros((n, FACTORS))
    for field, size in enumerate(sizes):
        share = np.arange(1, size + 1) ** -EXPONENT
        codes[:, field] = 1 + np.searchsorted(np.cumsum(share / share.sum()), rng.random(n)).clip(
            max=size - 1
        )
        weights, factors = rng.normal(0, 1, size + 1), rng.normal(0, 1, (size + 1, FACTORS))
        linear += weights[codes[:, field]]
        own = factors[codes[:, field]]
        total += own
        squares += own**2
    pairs = 0.5 * (total**2 - squares).sum(1)
    z = SCALE * (linear / linear.std() + pairs / pairs.std()) + BIAS
    return codes, (rng.random(n) < 1 / (1 + np.exp(-z))).astype(np.float32)


def save(path: Path, codes: ndarray, clicked: ndarray) -> None:
    columns = {f"f{field}": codes[:, field] for field in range(codes.shape[1])}
    np.savez(path, **columns, label=clicked)


def main() -> None:
    """Run both sides and write one flat object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--test-rows", type=int, default=200_000)
    parser.add_argument("--batch", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    sizes = [*SHORT, *LONG]
    sides = {
        "ours": [sys.executable, str(HERE / "ctr_ours.py")],
        "peer": [python_of("fuxictr"), str(HERE / "ctr_fuxictr.py")],
    }
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    with tempfile.TemporaryDirectory(prefix="usermodel-ctr-") as name:
        folder = Path(name)
        codes, clicked = rows(sizes, args.rows + args.test_rows, 0)
        save(folder / "train.npz", codes[: args.rows], clicked[: args.rows])
        save(folder / "test.npz", codes[args.rows :], clicked[args.rows :])
        (folder / "sizes.json").write_text(json.dumps(sizes))
        for seed in range(args.seeds):
            for side, command in sides.items():
                words = [*command, "train", str(folder), str(args.batch), str(args.epochs), str(seed)]
                _, peak = measure(words, folder)
                one = json.loads((folder / "out.json").read_text()) | {"peak_mb": peak}
                found[side].append(one)
                print(side, one, file=sys.stderr, flush=True)
        for side in ("peer", "ours"):
            measure([*sides[side], "parity", str(folder)], folder)
        parity = json.loads((folder / "parity.json").read_text())
    write(report(args, sizes, found, parity), args.json)


def report(
    args: argparse.Namespace,
    sizes: list[int],
    found: dict[str, list[dict[str, Any]]],
    parity: dict[str, float],
) -> dict[str, Any]:
    """One flat object."""
    result: dict[str, Any] = {
        **facts("ctr.py"),
        "rows": args.rows,
        "fields": len(sizes),
        "categories": sum(sizes),
        "batch": args.batch,
        "epochs": args.epochs,
    }
    rate: dict[str, float] = {}
    for side, runs in found.items():
        seconds = [one for run in runs for one in run["seconds"]]
        rate[side] = args.rows / statistics.median(seconds)
        result |= {
            f"{side}_rows_per_second": rate[side],
            f"{side}_epoch_seconds": seconds,
            f"{side}_test_auc": [run["auc"] for run in runs],
            f"{side}_peak_mb": max(run["peak_mb"] for run in runs),
        }
    mean = {side: statistics.mean(run["auc"] for run in runs) for side, runs in found.items()}
    result |= {
        "times_as_fast": rate["ours"] / rate["peer"],
        "goal_times_as_fast": 5.0,
        "auc_minus_peer": mean["ours"] - mean["peer"],
        "goal_auc_within": 0.002,
        **{f"parity_{name}": value for name, value in parity.items()},
    }
    fast = result["times_as_fast"] >= result["goal_times_as_fast"]
    return result | {"reached": bool(fast and abs(result["auc_minus_peer"]) <= result["goal_auc_within"])}


if __name__ == "__main__":
    main()
