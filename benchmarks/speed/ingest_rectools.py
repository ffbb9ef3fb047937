"""RecTools numbers users and items and builds its interaction table. It has no k-core of its own. INPUT -> FOLDER

Runs in the environment that `make peers` builds. RecTools has no store: the data set stays in memory.
"""

import sys
from pathlib import Path

import pandas as pd
from rectools.dataset import Dataset

source, folder = Path(sys.argv[1]), Path(sys.argv[2])
folder.mkdir(parents=True)
log = pd.read_parquet(source) if source.suffix == ".parquet" else pd.read_csv(source)
log = log.rename(columns={"timestamp": "datetime"}).assign(weight=1)
log["datetime"] = pd.to_datetime(log["datetime"], unit="s")
dataset = Dataset.construct(log)
print(f"{dataset.user_id_map.size} users, {dataset.item_id_map.size} items")
