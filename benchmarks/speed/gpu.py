"""Training on one GPU: seconds of an epoch, and of a whole ``pretrain`` to a quality. Ends at once where there is none.

    python benchmarks/speed/gpu.py --json benchmarks/results/gpu.json

Goals, for one H200: Beauty 20 ms an epoch; MovieLens-1M to test NDCG@10 of 0.180 in 10 s. Runs ``train.py`` without a peer
and ``next_item.py`` on the device that ``pretrain`` chooses by itself, and puts both into one object. Data:
$USERMODEL_DATA_DIR.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from side_by_side import ROOT, facts, write

SPEED, QUALITY = ROOT / "benchmarks" / "speed" / "train.py", ROOT / "benchmarks" / "quality" / "next_item.py"
GOAL_EPOCH_S, GOAL_NDCG, GOAL_S = 0.020, 0.18, 10.0


def run(command: list[str], flag: str) -> dict[str, Any]:
    """Run a script that writes one object to the file after ``flag``."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        subprocess.run([sys.executable, *command, flag, str(out)], check=True)
        found: dict[str, Any] = json.loads(out.read_text())
    return found


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit(
            "expected a CUDA device; found none. Run this on a machine with one, with torch for CUDA."
        )
    epoch = run([str(SPEED), "--job", "beauty-epoch", "--peer", "none", "--epochs", "6"], "--json")
    quality = [str(QUALITY), "--data", "ml-1m", "--set", "encoder.max_history=200"]
    whole = run([*quality, "--recipe", "next-item-fast", "--goal-ndcg", str(GOAL_NDCG)], "--out")
    result = {
        "job": "train on one GPU",
        "device": torch.cuda.get_device_name(0),
        "beauty_seconds_per_epoch": epoch["seconds_per_epoch"],
        "beauty_goal_seconds": GOAL_EPOCH_S,
        "ml_1m_seconds": whole["pretrain_seconds"],
        "ml_1m_goal_seconds": GOAL_S,
        "ml_1m_ndcg@10": whole["metrics"]["ndcg@10"],
        "ml_1m_goal_ndcg@10": GOAL_NDCG,
        "reached": epoch["seconds_per_epoch"] <= GOAL_EPOCH_S
        and whole["mean_seconds"] <= GOAL_S
        and whole["reached"],
    }
    write(result | facts("gpu.py"), args.json)


if __name__ == "__main__":
    main()
