"""Export of a million user vectors of width 64: seconds and peak memory of ``usermodel embed``, reading and start included.

    python benchmarks/speed/serve_export.py --json benchmarks/results/serve-export.json

Users have 5 events and a geometric number more, 9 in the mean, as in Amazon Beauty; the encoder is that of the recipe
``next-item`` with random weights. Store and encoder are made first, in a process of their own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from side_by_side import facts, measure, write

ROWS = 1_000_000
GOAL_SECONDS, GOAL_MB = 60.0, 1.5 * 1024**3 / 1e6
MAKE = """
import sys
from pathlib import Path
import numpy as np, polars as pl, torch, usermodel as um
from usermodel.encoders import io
folder, n_users = Path(sys.argv[1]), int(sys.argv[2])
rng = np.random.default_rng(0)
lengths = 4 + rng.geometric(0.2, n_users)
user = np.repeat(np.arange(n_users), lengths)
frame = pl.DataFrame({"user_id": user, "item_id": rng.zipf(1.2, len(user)) % 50_000, "timestamp": 1_700_000_000 + np.arange(len(user))})
store = um.build_store(um.read_events(frame, id_type="int"), folder / "store")
recipe = um.recipes.next_item()
torch.manual_seed(0)
io.save(folder / "encoder", recipe.encoder.build_on(store), recipe.encoder, store.vocabulary)
print(store.n_events)
"""


def export(args: argparse.Namespace) -> dict[str, Any]:
    """Each format of the job once a round; medians are of the rounds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [sys.executable, "-c", MAKE, name, str(args.users)]
        n_events = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        result: dict[str, Any] = {"job": "export", "n_users": args.users, "dim": 64, "n_events": n_events}
        for form in ("parquet", "npy", "safetensors"):
            out = folder / (f"users.{form}" if form != "npy" else "users")
            embed = [
                str(Path(sys.executable).parent / "usermodel"),
                "embed",
                "encoder",
                "store",
                "-o",
                str(out),
                "--format",
                form,
            ]
            runs = [measure([*embed, "--overwrite"], folder) for _ in range(args.repeat)]
            seconds, peaks = sorted(run[0] for run in runs), [run[1] for run in runs]
            result[f"{form}_seconds"] = round(seconds[len(seconds) // 2], 2)
            result[f"{form}_peak_mb"] = round(max(peaks), 1)
        result |= {"goal_seconds": GOAL_SECONDS, "goal_peak_mb": round(GOAL_MB, 1)}
        result["reached"] = result["parquet_seconds"] <= GOAL_SECONDS and result["parquet_peak_mb"] <= GOAL_MB
    return result


def main() -> None:
    """Run and write one flat object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", choices=["export"], default="export")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--users", type=int, default=ROWS)
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    write(export(args) | facts(Path(sys.argv[0]).name), args.json)


if __name__ == "__main__":
    main()
