"""AdaptSSR's published protocol on TTL, end to end through the command line: pretraining, and fine-tuning for its four tasks.

    python benchmarks/quality/ttl.py --data-dir FOLDER --out benchmarks/results/ttl.json

FOLDER holds the owner's files: see ``usermodel data list tencent-ttl``; they are not downloadable. ``--steps N`` cuts every stage
to N optimiser steps, to try it. Settings are those of the released code (Yu et al. 2023, arXiv:2310.09706): all events of a history
train, up to 150; 20 epochs of masked items and 20 of AdaptSSR; then 5 epochs for each task, all weights, dropout 0.5, of which
the best on the validation rows (accuracy, NDCG@10) is tested once. Writes one JSON object: for each task the metrics of every seed,
their mean and 95 % interval (Student's t), the commands, the wall seconds of each, and the hardware.

Deviations from the released code:

- Pretraining sees all users; there, a tenth of them only logs two shares.
- Fine-tuning starts from the last epoch of pretraining; the released script names the first of the 20.
- Training rows are shuffled in every epoch; there, fine-tuning reads them in one order. Draws of augmentation differ per epoch; there,
  they repeat.
- Parts are 6:2:2 of the labels by ``int()`` cuts as there, from another shuffle.
- Where several lines of clicks are equal, age and life status belong to the last user with it, once; there, every row counts.
- Ties in a ranking count half; there, sorting decides. A choice listed twice does not hide itself.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from seeds import interval

from usermodel.events.splits import UserRatioConfig
from usermodel.store.sequence_store import SequenceStore

#: The share that is held out of a history, rounded down: none of 150 events.
SPLIT = UserRatioConfig(valid=0.0, test=1e-6)
PRETRAINING = {
    "data.split": "user-ratio",
    "data.split.valid": SPLIT.valid,
    "data.split.test": SPLIT.test,
    "encoder.max_history": 150,
    "sampling.min_events": 1,
    "training.max_epochs": 20,
}
#: Task of the command line, and what the published settings change: table A5 of our notes on the released code.
TASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "age": (
        "user-attribute",
        {"sampling.column": "age", "training.learning_rate": 2e-4, "training.batch_users": 128},
    ),
    "life_status": (
        "user-attribute",
        {"sampling.column": "life_status", "training.learning_rate": 1e-4, "training.batch_users": 128},
    ),
    "click": (
        "user-choice",
        {"sampling.task": "click", "training.learning_rate": 5e-4, "training.batch_users": 512},
    ),
    "like": (
        "user-choice",
        {"sampling.task": "like", "training.learning_rate": 5e-4, "training.batch_users": 128},
    ),
}
FINE_TUNING = {"encoder.dropout": 0.5, "encoder.attention_dropout": 0.5, "training.max_epochs": 5}
FACTS = ("n_users", "n_items", "n_events", "protocol", "parameters", "hardware", "versions")


def run(command: str, folder: Path) -> float:
    """Run one command line; returns its wall time in seconds."""
    print("$", command, flush=True)
    started = time.monotonic()
    subprocess.run(
        [Path(sys.executable).parent / "usermodel", *shlex.split(command)[1:]], cwd=folder, check=True
    )
    return time.monotonic() - started


def options(values: dict[str, Any], prefix: str = "") -> str:
    """Values as the command line takes them."""
    return "".join(f" --set {prefix}{key}={value}" for key, value in values.items())


def require_nothing_held_out(path: Path) -> None:
    """Raise unless every event trains."""
    store = SequenceStore.open(path)
    stop = store.split(SPLIT).train_stop
    if not (stop == store.offsets[1:]).all():
        raise SystemExit(f"{int((store.offsets[1:] - stop).sum()):,} events of {path} are held out")


def one_seed(
    folder: Path, seed: int, steps: int | None, spent: dict[str, float]
) -> dict[str, dict[str, Any]]:
    """Pretrain, then fine-tune and test each task; returns what ``evaluate`` wrote for each.

    Args:
        folder: Holds ``store``.
        seed: Of both stages and of every fine-tuning.
        steps: At most, of each stage.
        spent: Seconds by command, filled.
    """
    last = {"training.seed": seed} | ({} if steps is None else {"training.max_steps": steps})

    def timed(command: str) -> None:
        spent[command] = run(command, folder)

    # What is set of data holds for all stages.
    first = {key: value for key, value in (PRETRAINING | last).items() if not key.startswith("data.")}
    both = options(PRETRAINING | last) + options(first, "stages.0.")
    timed(f"usermodel pretrain store -o run{seed} --recipe adaptssr{both}")
    scores = {}
    for name, (task, settings) in TASKS.items():
        made = f"{name}{seed}"
        changes = options(settings | FINE_TUNING | last)
        timed(f"usermodel finetune run{seed} store -o {made} --task {task}{changes}")
        timed(f"usermodel evaluate {made} store --task {task} --json {made}.json")
        scores[name] = json.loads((folder / f"{made}.json").read_text())
    return scores


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of each metric of a task: mean, half of its 95 % interval over seeds, and each seed's interval over rows."""
    found: dict[str, Any] = {"n": rows[0]["n"], "definitions": rows[0]["definitions"]}
    for name in rows[0]["definitions"]:
        values = [row[name] for row in rows]
        found[name] = interval(values) | {"seeds": values}
        found[name]["intervals"] = [row["intervals"][name] for row in rows]
    return found


def main() -> None:
    """Run all seeds and write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of the owner's files")
    parser.add_argument("--seeds", type=int, default=1, choices=range(1, 11))
    parser.add_argument("--steps", type=int, help="optimiser steps of each stage, at most")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    spent: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "raw").symlink_to(arguments.data_dir.resolve(), target_is_directory=True)
        prepare = "usermodel data prepare tencent-ttl --from raw -o store"
        spent[prepare] = run(prepare, folder)
        require_nothing_held_out(folder / "store")
        rows = [one_seed(folder, seed, arguments.steps, spent) for seed in range(arguments.seeds)]
    tasks = {name: summary([row[name] for row in rows]) for name in TASKS}
    result = {
        "command": shlex.join(["python", "benchmarks/quality/ttl.py", *sys.argv[1:]]),
        "commands": list(spent),
        "data": "TTL (Tencent), the owner's files",
        "seeds": arguments.seeds,
        "steps": arguments.steps,
        "tasks": tasks,
        "seconds": {command: round(seconds, 1) for command, seconds in spent.items()},
        "total_seconds": round(sum(spent.values())),
        **{key: rows[0]["age"][key] for key in FACTS},
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    for name, (task, _) in TASKS.items():
        metric = "accuracy" if task == "user-attribute" else "ndcg@10"
        print(f"{name}: test {metric} {tasks[name][metric]['mean']:.4f}")


if __name__ == "__main__":
    main()
