"""RecTools' SASRec with softmax over the catalogue, one epoch at a time. SEQUENCES EPOCHS JSON

Runs in the environment that `make peers` builds. The same width, layers, heads, window and targets as the recipe beside
it; 128 users a batch.
"""

import gzip
import json
import sys
import time
from pathlib import Path

import pandas as pd
from pytorch_lightning import Trainer
from rectools.dataset import Dataset
from rectools.models import SASRecModel

source, epochs, out = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
opener = gzip.open if source.suffix == ".gz" else open
rows = []
with opener(source, "rt") as file:
    for line in file:
        user, *items = line.split()
        rows += [(user, item, place, 1.0) for place, item in enumerate(items[:-2])]
log = pd.DataFrame(rows, columns=["user_id", "item_id", "datetime", "weight"])
log["datetime"] = pd.to_datetime(log["datetime"], unit="D")
dataset = Dataset.construct(log)


def trainer(n_epochs: int) -> Trainer:
    return Trainer(
        max_epochs=n_epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def seconds_of(n_epochs: int) -> float:
    model = SASRecModel(
        n_factors=64,
        n_blocks=2,
        n_heads=2,
        session_max_len=50,
        loss="softmax",
        batch_size=128,
        dataloader_num_workers=0,
        get_trainer_func=lambda: trainer(n_epochs),
    )
    started = time.perf_counter()
    model.fit(dataset)
    return time.perf_counter() - started


# A fit of one epoch more costs one epoch more: what comes before the first one is left out.
before = seconds_of(1)
after = seconds_of(1 + epochs)
counts = log.groupby("user_id").size()
out.write_text(
    json.dumps(
        {
            "seconds": [(after - before) / epochs],
            "targets": int((counts - 1).clip(upper=50).sum()),
            "classes": int(log["item_id"].nunique()),
        }
    )
)
