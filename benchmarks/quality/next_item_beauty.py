"""Next-item on Amazon Beauty (5-core, leave-last-out), through the command line, several seeds.

Run: make proof-beauty, with Beauty.txt.gz in $USERMODEL_DATA_DIR/amazon-beauty. Writes one JSON object: mean and 95 %
interval over seeds of every metric, the scores of each seed, commands, seconds, hardware.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

METRICS = ("hit@5", "ndcg@5", "hit@10", "ndcg@10", "hit@20", "ndcg@20", "mrr")
#: Two-sided 97.5 % quantiles of Student's t for 1 to 9 degrees of freedom.
T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


def run(command: str, folder: Path) -> float:
    """Run one command line; returns its wall time in seconds."""
    print("$", command, flush=True)
    started = time.monotonic()
    subprocess.run(
        [Path(sys.executable).parent / "usermodel", *shlex.split(command)[1:]], cwd=folder, check=True
    )
    return time.monotonic() - started


def summary(rows: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """Mean and 95 % interval (Student's t) over seeds."""
    values = [row[name] for row in rows]
    half = T[len(values) - 2] * statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else None
    return {"mean": statistics.mean(values), "ci95": half, "seeds": values}


def main() -> None:
    """Run all seeds and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--recipe", default="next-item")
    arguments = parser.parse_args()
    log = Path(os.environ["USERMODEL_DATA_DIR"]) / "amazon-beauty" / "Beauty.txt.gz"
    rows, seconds, commands = [], [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "Beauty.txt.gz").symlink_to(log.resolve())
        ingest = "usermodel ingest Beauty.txt.gz --format sequences -o beauty"
        run(ingest, folder)
        for seed in range(arguments.seeds):
            train = f"usermodel pretrain beauty -o run{seed} --recipe {arguments.recipe} --set training.seed={seed}"
            score = f"usermodel evaluate run{seed} beauty --task next-item --json scores{seed}.json"
            seconds.append(run(train, folder))
            run(score, folder)
            commands += [train, score]
            rows.append(json.loads((folder / f"scores{seed}.json").read_text()))
    facts = {
        key: rows[0][key]
        for key in (
            "n",
            "n_users",
            "n_items",
            "n_events",
            "protocol",
            "parameters",
            "hardware",
            "versions",
            "definitions",
        )
    }
    result = {
        "command": "make proof-beauty",
        "commands": [ingest, *commands],
        "data": "Amazon Beauty 5-core (2014), order only",
        "recipe": arguments.recipe,
        "seeds": arguments.seeds,
        "metrics": {name: summary(rows, name) for name in METRICS},
        "pretrain_seconds": seconds,
        "epochs": [row["epochs"] for row in rows],
        **facts,
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print({name: round(value["mean"], 5) for name, value in result["metrics"].items()})


if __name__ == "__main__":
    main()
