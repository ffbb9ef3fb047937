"""RecTools' SASRec recommends ten unseen items to every user, which is what its metrics are computed from. SEQUENCES REPEAT JSON

Runs in the environment that `make peers` builds. The same width, layers, heads and window as the recipe beside it, after
two steps of training; histories end before the test target. Seconds of `recommend`; metrics are left out.
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

source, repeat, out = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
opener = gzip.open if source.suffix == ".gz" else open
rows, targets = [], 0
with opener(source, "rt") as file:
    for line in file:
        user, *items = line.split()
        rows += [(user, item, place, 1.0) for place, item in enumerate(items[:-1])]
        targets += 1
log = pd.DataFrame(rows, columns=["user_id", "item_id", "datetime", "weight"])
log["datetime"] = pd.to_datetime(log["datetime"], unit="D")
dataset = Dataset.construct(log)


def trainer() -> Trainer:
    return Trainer(
        max_epochs=1,
        limit_train_batches=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


model = SASRecModel(
    n_factors=64,
    n_blocks=2,
    n_heads=2,
    session_max_len=50,
    loss="softmax",
    batch_size=128,
    dataloader_num_workers=0,
    get_trainer_func=trainer,
)
model.fit(dataset)
users = log["user_id"].unique()
seconds = []
for _ in range(repeat):
    started = time.perf_counter()
    found = model.recommend(users=users, dataset=dataset, k=10, filter_viewed=True)
    seconds.append(time.perf_counter() - started)
assert len(found) == 10 * len(users) == 10 * targets
out.write_text(json.dumps({"seconds": seconds, "users": len(users), "items": int(log["item_id"].nunique())}))
