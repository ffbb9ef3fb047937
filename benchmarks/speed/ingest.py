"""Ten million events from a file to a finished store with a 5-core: seconds and peak memory, beside a peer.

    python benchmarks/speed/ingest.py --job csv-str --json benchmarks/results/ingest-csv-str.json
    python benchmarks/speed/ingest.py --job parquet-str --events 100000000 --users 3000000 --peer none --repeat 1

Jobs: csv-int, csv-str, parquet-int, parquet-str. Peers: a plain polars script, or a library in the environment that
`make peers` builds, each in the file that it reads (RecBole: an atomic file). What a peer does is said at the head of
ingest_PEER.py. Each side runs in a process of its own, in turns, and the medians are compared.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from side_by_side import facts, measure, python_of, write

HERE = Path(__file__).parent
PEERS = ("none", "plain", "recbole", "rectools", "fuxictr")
JOBS = ("csv-int", "csv-str", "parquet-int", "parquet-str")
#: For 10 M events; for more, only memory has a goal.
GOAL_SECONDS, GOAL_MB, GOAL_MB_LARGE = {"int": 6.0, "str": 10.0}, 900.0, 4000.0
OPEN = """
import sys, time
from usermodel.store.sequence_store import SequenceStore
started = time.perf_counter()
store = SequenceStore.open(sys.argv[1])
store.items[store.offsets[0]]
print(1e3 * (time.perf_counter() - started))
"""
SIMULATE = """
import sys, numpy as np, polars as pl
from pathlib import Path
path, n, users, items, ids, form = Path(sys.argv[1]), *map(int, sys.argv[2:5]), *sys.argv[5:7]
rng = np.random.default_rng(0)
item = rng.zipf(1.2, 3 * n)
item = np.r_[item[item < items][:n], rng.integers(1, items, n)][:n]
log = pl.DataFrame({"user_id": rng.integers(0, users, n), "item_id": item.astype(np.int64),
                    "timestamp": np.sort(rng.integers(1_600_000_000, 1_700_000_000, n))})
if ids == "str":
    log = log.with_columns(user_id=pl.format("user_{}", "user_id"), item_id=pl.format("item{}", "item_id"))
path.parent.mkdir(parents=True, exist_ok=True)
if form == "inter":
    log = log.rename({"user_id": "user_id:token", "item_id": "item_id:token", "timestamp": "timestamp:float"})
    log.write_csv(path, separator="\\t")
else:
    log.write_parquet(path) if form == "parquet" else log.write_csv(path)
"""


def simulate(args: argparse.Namespace, log: Path, ids: str, form: str) -> Path:
    """The same events in whatever format, from a process of their own."""
    numbers = [str(number) for number in (args.events, args.users, args.items)]
    subprocess.run([sys.executable, "-c", SIMULATE, str(log), *numbers, ids, form], check=True)
    return log


def run(args: argparse.Namespace, folder: Path) -> tuple[dict[str, list[tuple[float, float]]], float]:
    """All measurements of both sides, in turns, and the milliseconds in which another process opens the store."""
    form, ids = args.job.split("-")
    log = simulate(args, folder / f"log-{ids}.{form}", ids, form)
    core = ["--min-user-events", "5", "--min-item-events", "5"]
    kind = ["--id-type", "int" if ids == "int" else "string"]
    cli = [sys.executable, "-c", "from usermodel.cli.main import main; main()"]
    sides = {"ours": [*cli, "ingest", str(log), *kind, *core, "-o"]}
    if args.peer != "none":
        # RecBole looks for DATASET/DATASET.inter.
        theirs = log if args.peer != "recbole" else simulate(args, folder / "log" / "log.inter", ids, "inter")
        sides["peer"] = [python_of(args.peer), str(HERE / f"ingest_{args.peer}.py"), str(theirs)]
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    open_ms: list[float] = []
    for _ in range(args.repeat):
        for name, command in sides.items():
            out = folder / "out"
            found[name].append(measure([*command, str(out)], folder))
            print(f"{name}: {found[name][-1][0]:.2f} s, {found[name][-1][1]:,.0f} MB", file=sys.stderr)
            if name == "ours":
                opened = subprocess.run(
                    [sys.executable, "-c", OPEN, str(out)], capture_output=True, check=True
                )
                open_ms.append(float(opened.stdout))
            shutil.rmtree(out)
    return found, statistics.median(open_ms)


def report(
    args: argparse.Namespace, found: dict[str, list[tuple[float, float]]], open_ms: float
) -> dict[str, object]:
    """Medians as one flat object."""
    middle = {
        name: [statistics.median(values) for values in zip(*runs, strict=True)]
        for name, runs in found.items()
    }
    seconds, peak = middle["ours"]
    peer_seconds, peer_peak = middle.get("peer", (None, None))
    is_large = args.events > 10_000_000
    goal = None if is_large else GOAL_SECONDS[args.job.split("-")[1]]
    goal_mb = GOAL_MB_LARGE if is_large else GOAL_MB
    return {
        "job": f"ingest {args.job}",
        "seconds": round(seconds, 3),
        "peak_mb": round(peak, 1),
        "open_ms": round(open_ms, 2),
        "peer": args.peer,
        "peer_seconds": None if peer_seconds is None else round(peer_seconds, 3),
        "peer_peak_mb": None if peer_peak is None else round(peer_peak, 1),
        "ratio_to_peer": None if peer_seconds is None else round(seconds / peer_seconds, 3),
        "goal_seconds": goal,
        "goal_mb": goal_mb,
        "reached": (goal is None or seconds <= goal) and peak <= goal_mb,
        "repeats": args.repeat,
        "n_events": args.events,
        "n_users": args.users,
        "n_items": args.items,
        **facts("ingest.py"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--job", choices=JOBS, default="csv-str")
    parser.add_argument("--peer", choices=PEERS, default="plain")
    parser.add_argument("--json", type=Path, help="where to write the result; default: standard output")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--users", type=int, default=300_000)
    parser.add_argument("--items", type=int, default=100_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="usermodel-ingest-") as folder:
        write(report(args, *run(args, Path(folder))), args.json)


if __name__ == "__main__":
    main()
