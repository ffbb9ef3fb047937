"""A small world with a rule to learn, a small recipe, and ways to compare runs bit for bit."""

import csv
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from usermodel import manifest
from usermodel.events.readers import read_events
from usermodel.store.build import build_store
from usermodel.store.sequence_store import SequenceStore
from usermodel.training.recipe import Recipe

SMALL = {
    "encoder.dim": 16,
    "encoder.hidden": 16,
    "encoder.layers": 1,
    "encoder.max_history": 8,
    "encoder.dropout": 0.1,
    "training.batch_events": 100,
    "training.max_epochs": 3,
    "training.learning_rate": 0.01,
    "training.precision": "fp32",
}


def write_store(path: Path, *, users: int, items: int = 20, seed: int = 0) -> SequenceStore:
    """Each item is followed by the next one, three times out of four."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        item = int(rng.integers(items))
        for time in range(int(rng.integers(3, 16))):
            rows.append((f"u{user:03d}", f"i{item:02d}", time))
            item = (item + 1) % items if rng.random() < 0.75 else int(rng.integers(items))
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    return build_store(read_events(frame, time_unit="order"), path)


@pytest.fixture(scope="session")
def store(tmp_path_factory) -> SequenceStore:
    return write_store(tmp_path_factory.mktemp("training") / "store", users=60)


@pytest.fixture(scope="session")
def make_store():
    return write_store


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    return Recipe().override(SMALL)


def facts(folder: Path) -> dict:
    """All of a finished run but the clock: weights bit for bit, metrics digit for digit."""
    with (folder / "metrics.csv").open(newline="") as file:
        rows = [
            {key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)
        ]
    meta = manifest.read(folder, "run", verify=True).meta
    return {
        "weights": (folder / "encoder" / "model.safetensors").read_bytes(),
        "rows": rows,
        "meta": {key: meta[key] for key in ("epochs", "steps", "best_epoch", "best", "store", "split")},
    }


@pytest.fixture(scope="session")
def run_facts():
    return facts
