"""Milliseconds of drawing negatives of each event's own: 256 for each of 4,096 events, from a million items.

    OMP_NUM_THREADS=2 python benchmarks/speed/negatives.py --json benchmarks/results/negatives.json

Uniform draws, and draws by popularity (Zipf counts to the power 0.75), in turns, medians. `ours` has log q for each draw; the
others do not. `numpy_loop` draws event by event, by popularity with a search in the summed probabilities; `numpy_whole` draws all
at once, by popularity from alias tables. `recbole_rewritten` is what RecBole's sampler does, in plain numpy: all uniform draws at
once, and an alias table of dictionaries, looked up draw by draw. `recbole` is that sampler itself, where `make peers` has built
its environment; its tables are handed to it. `load_average` is that of the machine before and after: figures of a busy machine
are too high.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from side_by_side import ROOT, facts, write

from usermodel.negatives.alias import alias_table
from usermodel.negatives.popularity import Popularity
from usermodel.negatives.protocol import DrawContext, NegativeSampler
from usermodel.negatives.uniform import Uniform

EVENTS, DRAWS, ALPHA = 4096, 256, 0.75
#: Rounds of ways that take a second each.
FEW = 3
Way = Callable[[], object]


def medians(ways: dict[str, Way], rounds: int, slow: set[str]) -> dict[str, float]:
    """Milliseconds of each way, after two rounds that do not count."""
    seen: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 2):
        for name, way in ways.items():
            if name in slow and number >= FEW + 2:
                continue
            started = time.perf_counter()
            way()
            seen[name].append(1e3 * (time.perf_counter() - started))
    return {f"{name}_ms": round(statistics.median(times[2:]), 2) for name, times in seen.items()}


def ours(sampler: NegativeSampler, n_items: int) -> Way:
    positives, context = torch.randint(1, n_items + 1, (EVENTS,)), DrawContext(torch.zeros(EVENTS, 1))
    return lambda: sampler.sample(positives, context, n=DRAWS)


def uniform(n_items: int) -> dict[str, Way]:
    rng = np.random.default_rng(0)

    def loop() -> list[Any]:
        return [rng.integers(1, n_items + 1, DRAWS) for _ in range(EVENTS)]

    return {
        "ours": ours(Uniform(n_items, shared=False), n_items),
        "numpy_loop": loop,
        "numpy_whole": lambda: rng.integers(1, n_items + 1, (EVENTS, DRAWS)),
        "recbole_rewritten": lambda: np.random.randint(1, n_items + 1, EVENTS * DRAWS),  # noqa: NPY002
    }


def popularity(counts: np.ndarray) -> dict[str, Way]:
    rng, n_items = np.random.default_rng(0), len(counts)
    weight = counts**ALPHA
    summed = np.cumsum(weight / weight.sum())
    accept, alias = alias_table(weight)
    keys = list(range(1, n_items + 1))
    shares, others = (
        dict(zip(keys, accept.tolist(), strict=True)),
        dict(zip(keys, (alias + 1).tolist(), strict=True)),
    )

    def loop() -> list[Any]:
        return [np.searchsorted(summed, rng.random(DRAWS)) + 1 for _ in range(EVENTS)]

    def whole() -> Any:
        slot = rng.integers(0, n_items, (EVENTS, DRAWS))
        return np.where(rng.random((EVENTS, DRAWS)) < accept[slot], slot, alias[slot]) + 1

    def dictionaries() -> Any:
        slots = np.random.randint(0, n_items, EVENTS * DRAWS)  # noqa: NPY002
        fractions = np.random.random(EVENTS * DRAWS)  # noqa: NPY002
        drawn = []
        for slot, fraction in zip(slots, fractions, strict=True):
            key = keys[slot]
            drawn.append(key if shares[key] > fraction else others[key])
        return np.array(drawn)

    return {
        "ours": ours(Popularity(counts, alpha=ALPHA, shared=False), n_items),
        "numpy_loop": loop,
        "numpy_whole": whole,
        "recbole_rewritten": dictionaries,
    }


def recbole(counts: np.ndarray) -> dict[str, dict[str, float]]:
    """Its medians, from its own environment; empty where there is none."""
    python = ROOT / ".peers" / "recbole" / "bin" / "python"
    if not python.exists():
        return {}
    with tempfile.TemporaryDirectory(prefix="usermodel-negatives-") as name:
        tables, out = Path(name) / "tables.npz", Path(name) / "out.json"
        accept, alias = alias_table(counts**ALPHA)
        np.savez(tables, accept=accept, alias=alias + 1)
        script = Path(__file__).with_name("negatives_recbole.py")
        command = [str(python), str(script), str(tables), str(EVENTS * DRAWS), str(FEW), str(out)]
        subprocess.run(command, check=True, cwd=name)
        found: dict[str, dict[str, float]] = json.loads(out.read_text())
    return found


def main() -> None:
    """Measure both laws and write one object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.manual_seed(0)
    before = os.getloadavg()
    counts = np.floor(args.items / np.arange(1.0, args.items + 1))
    np.random.default_rng(0).shuffle(counts)
    started = time.perf_counter()
    Popularity(counts, alpha=ALPHA)
    built = time.perf_counter() - started
    result: dict[str, Any] = {
        "job": "negatives of each event's own",
        "items": args.items,
        "events": EVENTS,
        "draws": DRAWS,
        "threads": torch.get_num_threads(),
        "build_popularity_s": round(built, 2),
        "uniform": medians(uniform(args.items), args.rounds, set()),
        "popularity": medians(popularity(counts), args.rounds, {"numpy_loop", "recbole_rewritten"}),
    }
    for law, found in recbole(counts).items():
        result[law] |= found
    result["load_average"] = {"before": before, "after": os.getloadavg()}
    write(result | facts("negatives.py"), args.json)


if __name__ == "__main__":
    main()
