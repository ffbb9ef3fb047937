"""Parity with ICSRec: its official weights for Amazon Beauty, through our converter, encoders and evaluator.

Run: make proof-parity, with Beauty.txt.gz in $USERMODEL_DATA_DIR/amazon-beauty and icsrec-{sas,gru}-beauty.safetensors in
$USERMODEL_CHECKPOINTS_DIR. Writes one JSON object and ends with 1 unless every count lies within 2 hits, and every NDCG within
0.0001, of an independent evaluation of the same weights, which itself meets the figures that the authors publish.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

KS = (5, 10, 20)
MAX_HITS, MAX_NDCG = 2, 1e-4
#: (model, part) -> hits and NDCG at 5, 10 and 20 over 22,363 users.
WANTED = {
    ("sas", "test"): ((1560, 2146, 2902), (0.049435, 0.057851, 0.066343)),
    ("sas", "valid"): ((1933, 2616, 3495), (0.062115, 0.071929, 0.081838)),
    ("gru", "test"): ((1150, 1653, 2268), (0.036425, 0.043673, 0.050609)),
    ("gru", "valid"): ((1585, 2165, 2928), (0.051444, 0.059825, 0.068404)),
}


def run(command: str, folder: Path) -> None:
    """Run one command line."""
    print("$", command, flush=True)
    words = [Path(sys.executable).parent / "usermodel", *shlex.split(command)[1:]]
    subprocess.run(words, cwd=folder, check=True)


def compare(scores: dict[str, Any], model: str, part: str) -> dict[str, Any]:
    """Counts and NDCG beside those wanted."""
    hits = [round(scores[f"hit@{k}"] * scores["n"]) for k in KS]
    ndcg = [round(scores[f"ndcg@{k}"], 6) for k in KS]
    wanted_hits, wanted_ndcg = WANTED[model, part]
    hits_off = max(abs(a - b) for a, b in zip(hits, wanted_hits, strict=True))
    ndcg_off = max(abs(a - b) for a, b in zip(ndcg, wanted_ndcg, strict=True))
    return {
        "model": model,
        "part": part,
        "users": scores["n"],
        "hits": hits,
        "wanted_hits": wanted_hits,
        "ndcg": ndcg,
        "wanted_ndcg": wanted_ndcg,
        "met": hits_off <= MAX_HITS and ndcg_off <= MAX_NDCG,
    }


def main() -> None:
    """Convert and score both models on both parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    log = Path(os.environ["USERMODEL_DATA_DIR"]) / "amazon-beauty" / "Beauty.txt.gz"
    weights = Path(os.environ["USERMODEL_CHECKPOINTS_DIR"])
    commands = ["usermodel ingest Beauty.txt.gz --format sequences -o beauty"]
    rows, checkpoints, scores = [], {}, {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "Beauty.txt.gz").symlink_to(log.resolve())
        run(commands[0], folder)
        for model in ("sas", "gru"):
            file = f"icsrec-{model}-beauty.safetensors"
            (folder / file).symlink_to((weights / file).resolve())
            steps = [f"usermodel convert {file} --store beauty -o {model}"]
            steps += [
                f"usermodel evaluate {model} beauty --part {part} --json {model}-{part}.json"
                for part in ("test", "valid")
            ]
            for step in steps:
                run(step, folder)
            commands += steps
            checkpoints[model] = json.loads((folder / model / "manifest.json").read_text())["meta"][
                "converted_from"
            ]
            for part in ("test", "valid"):
                scores = json.loads((folder / f"{model}-{part}.json").read_text())
                rows.append(compare(scores, model, part))
    facts = {key: scores[key] for key in ("n_users", "n_items", "n_events", "protocol", "versions")}
    result = {
        "command": "make proof-parity",
        "commands": commands,
        "data": "Amazon Beauty 5-core (2014), order only",
        "tolerance": {"hits": MAX_HITS, "ndcg": MAX_NDCG},
        "ks": KS,
        "checkpoints": checkpoints,
        "results": rows,
        "met": all(row["met"] for row in rows),
        **facts,
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    for row in rows:
        print(row["model"], row["part"], row["hits"], row["ndcg"], "met" if row["met"] else "NOT MET")
    sys.exit(0 if result["met"] else 1)


if __name__ == "__main__":
    main()
