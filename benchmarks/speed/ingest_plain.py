"""What one would write without a library: read, 5-core, number, sort, save. No check of anything. INPUT -> FOLDER"""

import sys
from pathlib import Path

import numpy as np
import polars as pl

source, folder = Path(sys.argv[1]), Path(sys.argv[2])
log = pl.read_parquet(source) if source.suffix == ".parquet" else pl.read_csv(source)
rows = 0
while rows != log.height:
    rows = log.height
    log = log.filter((pl.len().over("user_id") >= 5) & (pl.len().over("item_id") >= 5))
folder.mkdir(parents=True)
for name in ("user_id", "item_id"):
    ids = log[name].unique().sort()
    ids.to_frame().write_parquet(folder / f"{name}.parquet")
    codes = pl.DataFrame({name: ids, "code": np.arange(len(ids), dtype=np.int32)})
    log = log.join(codes, on=name, how="left", maintain_order="left").drop(name).rename({"code": name})
log = log.sort("user_id", "timestamp", maintain_order=True)
np.save(folder / "offsets.npy", np.r_[0, np.cumsum(np.bincount(log["user_id"].to_numpy()))])
np.save(folder / "items.npy", log["item_id"].to_numpy())
np.save(folder / "times.npy", log["timestamp"].to_numpy())
