"""Seconds of a full-ranking evaluation, encoding included, beside libraries that do the same work in the same run.

    python benchmarks/speed/serve_evaluate.py --job evaluate --json benchmarks/results/serve-evaluate.json

Beauty ($USERMODEL_DATA_DIR): the test target of every user among all items. What each side does is said at the head of
serve_evaluate_SIDE.py. Each runs in a process of its own, in turns; loading is not timed, and medians are compared. Peers:
recbole and rectools, in the environments that `make peers` builds; --peer none leaves them out.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from side_by_side import facts, measure, python_of, write

HERE = Path(__file__).parent
LOG = "amazon-beauty/Beauty.txt.gz"
GOAL_SECONDS = 0.5
#: Evaluations a process; what takes ten seconds is not measured as often.
REPEATS = {"ours": 5, "recbole": 2, "rectools": 1}


def evaluate(args: argparse.Namespace) -> dict[str, Any]:
    """All sides, as one flat object."""
    source = Path(os.environ["USERMODEL_DATA_DIR"]).resolve() / LOG
    sides = ["ours", *(args.peer if args.peer != ["none"] else [])]
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    normal: list[float] = []
    peaks: dict[str, float] = {}
    said: dict[str, dict[str, Any]] = {}
    for _ in range(args.repeat):
        for name in sides:
            said[name], peaks[name] = one(name, source)
            seconds[name] += said[name]["seconds"]
            print(f"{name}: {[round(s, 3) for s in said[name]['seconds']]} s", file=sys.stderr)
        normal += said["ours"]["seconds_normal_intervals"]
    ours = statistics.median(seconds["ours"])
    result = {
        "job": "evaluate beauty",
        "seconds": round(ours, 4),
        "seconds_best": round(min(seconds["ours"]), 4),
        "seconds_normal_intervals": round(statistics.median(normal), 4),
        "goal_seconds": GOAL_SECONDS,
        "reached": ours <= GOAL_SECONDS,
        "users": said["ours"]["users"],
        "items": said["ours"]["items"],
        "users_per_s": round(said["ours"]["users"] / ours),
        "peak_mb": round(peaks["ours"], 1),
        "threads": said["ours"]["threads"],
        "repeat": len(seconds["ours"]),
    }
    for name in sides[1:]:
        theirs = statistics.median(seconds[name])
        result |= {
            f"{name}_seconds": round(theirs, 3),
            f"{name}_users": said[name]["users"],
            f"{name}_items": said[name]["items"],
            f"{name}_peak_mb": round(peaks[name], 1),
            f"times_faster_than_{name}": round(theirs / ours, 2),
        }
    return result | facts("serve_evaluate.py")


def one(name: str, source: Path) -> tuple[dict[str, Any], float]:
    """One process of a side: what it says, and its peak megabytes."""
    python = sys.executable if name == "ours" else python_of(name)
    with tempfile.TemporaryDirectory(prefix="usermodel-evaluate-") as folder:
        out = Path(folder) / "out.json"
        script = HERE / f"serve_evaluate_{name}.py"
        _, peak = measure([python, str(script), str(source), str(REPEATS[name]), str(out)], Path(folder))
        return json.loads(out.read_text()), peak


def main() -> None:
    """Run all sides and write one flat object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", choices=["evaluate"], default="evaluate")
    parser.add_argument(
        "--peer", nargs="+", choices=["none", "recbole", "rectools"], default=["recbole", "rectools"]
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--repeat", type=int, default=3, help="processes a side")
    args = parser.parse_args()
    write(evaluate(args), args.json)


if __name__ == "__main__":
    main()
