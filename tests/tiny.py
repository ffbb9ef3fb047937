"""A store and a run small enough for every test that needs one."""

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from usermodel.events.readers import read_events
from usermodel.store.build import build_store
from usermodel.training.pretrain import pretrain
from usermodel.training.recipe import Recipe

RECIPE = Recipe().override(
    {
        "training.max_epochs": 2,
        "encoder.dim": 8,
        "encoder.hidden": 16,
        "encoder.max_history": 6,
        "training.batch_events": 64,
    }
)


def frame(n_users=30, n_items=25, seed=0):
    """Histories of 3 to 12 events."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 13, n_users)
    user = np.repeat(np.arange(n_users), lengths)
    item = rng.integers(0, n_items, len(user))
    return pl.DataFrame(
        {
            "user_id": [f"u{u:03d}" for u in user],
            "item_id": [f"i{i:03d}" for i in item],
            "timestamp": 1_700_000_000 + 60 * np.arange(len(user)),
        }
    )


def make_store(folder, **options):
    return build_store(read_events(frame(**options)), folder)


def make_run(store, folder):
    return pretrain(store, RECIPE, folder)


def traces(folder, word):
    """Files that hold a word, in their bytes or in what Parquet compresses."""
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        if path.suffix == ".parquet":
            file = pq.ParquetFile(path)
            content += f"{file.read().to_pylist()} {file.metadata.to_dict()}".encode()
        if word.encode() in content:
            found.append(str(path.relative_to(folder)))
    return found
