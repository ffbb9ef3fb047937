"""What comes after pretraining, on public data and through the command line: every command, its seconds, and what it found.

    python benchmarks/quality/serving.py --data beauty --out benchmarks/results/serving_beauty.json

Data: $USERMODEL_DATA_DIR. One run of ``next-item-fast`` is embedded, described, indexed, evaluated by all metrics and by the
definitions of other tools, and asked for recommendations and look-alikes. Writes one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import polars as pl
from next_item import DATA

OPTIONS = {"beauty": "", "ml-1m": " --set encoder.max_history=200"}
LISTS = "coverage@10,novelty@10,arp@10,popularity_bias@10"
SCORES = f"hit@10,recall@10,ndcg@10,map@10,mrr@10,mrr,auc,{LISTS}"
KINDS = ("flat", "sq8", "ivf-flat", "ivf-pq", "hnsw")


def steps(data: str, log: str) -> list[tuple[str, str]]:
    """Name and command line of each step, in order."""
    return [
        ("ingest", f"usermodel ingest {log} --format sequences -o store"),
        ("pretrain", f"usermodel pretrain store -o run --recipe next-item-fast{OPTIONS[data]}"),
        ("embed", "usermodel embed run store -o vectors"),
        ("embed_int8", "usermodel embed run store -o small.parquet --dtype int8"),
        ("embed_since", "usermodel embed run store -o again --since vectors"),
        ("describe", "usermodel describe vectors --store store --html health.html --json"),
        *((f"index_{kind}", f"usermodel index run -o items-{kind} --type {kind} --store store") for kind in KINDS),
        ("index_users", "usermodel index vectors --of users -o people"),
        ("recommend", "usermodel recommend run store --users ids.txt -k 10 --index items-flat -o best.parquet"),
        ("similar", "usermodel similar people --users ids.txt -k 10 -o alike.parquet"),
        ("evaluate", f"usermodel evaluate run store --metrics {SCORES} --by history-length,popularity --json ours.json"),
        *((f"evaluate_{tool}", f"usermodel evaluate run store --as {tool} --json {tool}.json") for tool in ("recbole", "rectools", "bars")),
        ("evaluate_index", "usermodel evaluate run store --index items-hnsw --json index.json"),
        ("onnx", "usermodel export run -o encoder.onnx"),
        ("forget", "usermodel forget store vectors people --users one.txt"),
    ]  # fmt: skip


def run(command: str, folder: Path) -> tuple[float, str, str]:
    """Wall seconds, standard output, and what was said."""
    print("$", command, flush=True)
    started = time.monotonic()
    words = [str(Path(sys.executable).parent / "usermodel"), *command.split()[1:]]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command}: exit code {done.returncode}\n{done.stderr}")
    return round(time.monotonic() - started, 2), done.stdout, done.stderr


def findings(folder: Path) -> dict[str, Any]:
    """Scores and sizes that the steps left in files."""
    scores = {
        name: json.loads((folder / f"{name}.json").read_text())
        for name in ("ours", "recbole", "rectools", "bars", "index")
    }
    keep = ("n", "n_users", "n_items", "n_events", "protocol", "parameters", "hardware", "versions")
    numbers = {
        name: {
            key: value
            for key, value in one.items()
            if isinstance(value, float) and ("@" in key or key in {"mrr", "auc"})
        }
        for name, one in scores.items()
    }
    small, whole = ((folder / name).stat().st_size for name in ("small.parquet", "vectors/users.parquet"))
    loss = json.loads((folder / "small.parquet.manifest.json").read_text())["meta"]["loss"]
    return {
        **{key: scores["ours"][key] for key in keep},
        "metrics": numbers,
        "by": scores["ours"]["by"],
        "intervals": scores["ours"]["intervals"],
        "definitions": {name: one["definitions"] for name, one in scores.items()},
        "int8_loss": loss,
        "int8_bytes": small,
        "float32_bytes": whole,
    }


def main() -> None:
    """Run every step and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", choices=sorted(DATA), required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    title, place = DATA[arguments.data]
    log = Path(os.environ["USERMODEL_DATA_DIR"]) / place
    result: dict[str, Any] = {
        "command": f"python benchmarks/quality/serving.py --data {arguments.data} --out {arguments.out}",
        "data": title,
        "steps": {},
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / log.name).symlink_to(log.resolve())
        for step, command in steps(arguments.data, log.name):
            seconds, output, said = run(command, folder)
            result["steps"][step] = {"command": command, "seconds": seconds}
            if step == "ingest":
                ids = pl.read_parquet(folder / "store" / "users.parquet")["id"].to_list()
                (folder / "ids.txt").write_text("\n".join(ids[:1000]) + "\n")
                (folder / "one.txt").write_text(ids[0] + "\n")
            if step == "describe":
                result["health"] = json.loads(output)
            if step.startswith(("index", "onnx")):
                result["steps"][step]["said"] = said.strip().splitlines()
        result |= findings(folder)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
