"""Ten million events from a file to a finished store with a 5-core: seconds and peak memory, beside a plain script.

    python benchmarks/speed/ingest.py --job csv-str --json benchmarks/results/ingest-csv-str.json

Jobs: csv-int, csv-str, parquet-int, parquet-str. Each side runs in a process of its own, in turns, and the medians are
compared. This process imports no numpy: the kernel counts the memory of a parent at the time of a fork as the child's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
JOBS = ("csv-int", "csv-str", "parquet-int", "parquet-str")
GOAL_SECONDS, GOAL_MB = {"int": 6.0, "str": 10.0}, 900.0
SIMULATE = """
import sys, numpy as np, polars as pl
path, n, users, items, ids = sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5]
rng = np.random.default_rng(0)
item = rng.zipf(1.2, 3 * n)
item = np.r_[item[item < items][:n], rng.integers(1, items, n)][:n]
log = pl.DataFrame({"user_id": rng.integers(0, users, n), "item_id": item.astype(np.int64),
                    "timestamp": np.sort(rng.integers(1_600_000_000, 1_700_000_000, n))})
if ids == "str":
    log = log.with_columns(user_id=pl.format("user_{}", "user_id"), item_id=pl.format("item{}", "item_id"))
log.write_parquet(path) if path.endswith(".parquet") else log.write_csv(path)
"""


def measure(command: list[str]) -> tuple[float, float]:
    """Wall seconds and peak megabytes of a process."""
    started = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"exit code {child.returncode}: {' '.join(command)}")
    return time.perf_counter() - started, usage.ru_maxrss * 1024 / 1e6


def run(args: argparse.Namespace, folder: Path) -> dict[str, list[tuple[float, float]]]:
    """All measurements of both sides, in turns."""
    form, ids = args.job.split("-")
    log = folder / f"log.{form}"
    numbers = [str(number) for number in (args.events, args.users, args.items)]
    subprocess.run([sys.executable, "-c", SIMULATE, str(log), *numbers, ids], check=True)
    core = ["--min-user-events", "5", "--min-item-events", "5"]
    kind = ["--id-type", "int" if ids == "int" else "string"]
    cli = [sys.executable, "-c", "from usermodel.cli.main import main; main()"]
    sides = {"ours": [*cli, "ingest", str(log), *kind, *core, "-o"]}
    if args.peer == "plain":
        sides["peer"] = [sys.executable, str(HERE / "plain_ingest.py"), str(log)]
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for _ in range(args.repeat):
        for name, command in sides.items():
            out = folder / "out"
            found[name].append(measure([*command, str(out)]))
            print(f"{name}: {found[name][-1][0]:.2f} s, {found[name][-1][1]:,.0f} MB", file=sys.stderr)
            shutil.rmtree(out)
    return found


def report(args: argparse.Namespace, found: dict[str, list[tuple[float, float]]]) -> dict[str, object]:
    """Medians as one flat object."""
    middle = {
        name: [statistics.median(values) for values in zip(*runs, strict=True)]
        for name, runs in found.items()
    }
    seconds, peak = middle["ours"]
    peer_seconds, peer_peak = middle.get("peer", (None, None))
    goal = GOAL_SECONDS[args.job.split("-")[1]]
    return {
        "job": f"ingest {args.job}",
        "seconds": round(seconds, 3),
        "peak_mb": round(peak, 1),
        "peer": args.peer,
        "peer_seconds": None if peer_seconds is None else round(peer_seconds, 3),
        "peer_peak_mb": None if peer_peak is None else round(peer_peak, 1),
        "ratio_to_peer": None if peer_seconds is None else round(seconds / peer_seconds, 3),
        "goal_seconds": goal,
        "goal_mb": GOAL_MB,
        "reached": seconds <= goal and peak <= GOAL_MB,
        "repeats": args.repeat,
        "n_events": args.events,
        "n_users": args.users,
        "n_items": args.items,
        "command": " ".join(["python", "benchmarks/speed/ingest.py", *sys.argv[1:]]),
        "hardware": f"{_processor()}, {len(os.sched_getaffinity(0))} cores",
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--job", choices=JOBS, default="csv-str")
    parser.add_argument("--peer", choices=("none", "plain"), default="plain")
    parser.add_argument("--json", type=Path, help="where to write the result; default: standard output")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--users", type=int, default=300_000)
    parser.add_argument("--items", type=int, default=100_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="usermodel-ingest-") as folder:
        text = json.dumps(report(args, run(args, Path(folder))), indent=1) + "\n"
    if args.json is None:
        print(text, end="")
    else:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(text)


if __name__ == "__main__":
    main()
