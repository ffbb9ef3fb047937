"""Evaluation of the recipe next-item's encoder on the test targets, from an open store to a list of results. SEQUENCES REPEAT JSON

Random weights. Encoding, the rank of every target among all unseen items, metrics and their intervals are all timed.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import torch

import usermodel as um
from usermodel.benchmark.evaluate import evaluate_encoder
from usermodel.encoders import io
from usermodel.tasks.next_item import NextItem

source, repeat, out = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
with tempfile.TemporaryDirectory() as name:
    store = um.build_store(um.read_events(source, format="sequences"), Path(name) / "store")
    config = um.recipes.next_item().encoder
    torch.manual_seed(0)
    io.save(Path(name) / "encoder", config.build_on(store), config, store.vocabulary)
    encoder = um.UserEncoder.load(Path(name) / "encoder")
    seconds: dict[str, list[float]] = {"bootstrap": [], "normal": []}
    # The first round is left out.
    for _ in range(1 + repeat):
        for interval, found in seconds.items():
            task = NextItem(interval=interval)
            started = time.perf_counter()
            results = evaluate_encoder(encoder, store, task)
            found.append(time.perf_counter() - started)
out.write_text(
    json.dumps(
        {
            "seconds": seconds["bootstrap"][1:],
            "seconds_normal_intervals": seconds["normal"][1:],
            "users": results[0].n,
            "items": store.n_items,
            "threads": torch.get_num_threads(),
        }
    )
)
