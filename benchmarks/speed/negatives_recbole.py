"""RecBole's sampler of negatives, its draws alone. TABLES DRAWS REPEAT JSON

Runs in the environment that `make peers` builds. Its own construction of alias tables takes the first entry off a list for each
item, which is quadratic in the items: tables are handed to it. Milliseconds, medians, after one round that does not count. It
has no probabilities of draws; what its loader does then, drawing anew what the user has had, is left out.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from recbole.sampler.sampler import AbstractSampler

tables, draws, repeat = np.load(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
n_items = len(tables["accept"])
keys = range(1, n_items + 1)


class Sampler(AbstractSampler):
    """Over items 1 to n_items, of which nobody has had any."""

    def __init__(self, distribution: str) -> None:
        super().__init__(distribution, 1.0)

    def _uni_sampling(self, sample_num: int) -> np.ndarray:
        return np.random.randint(1, n_items + 1, sample_num)  # noqa: NPY002

    def _build_alias_table(self) -> None:
        self.prob = dict(zip(keys, tables["accept"].tolist(), strict=True))
        self.alias = dict(zip(keys, tables["alias"].tolist(), strict=True))

    def get_used_ids(self) -> np.ndarray:
        """Of one user: none."""
        return np.array([set()])


found = {}
for distribution in ("uniform", "popularity"):
    sampler = Sampler(distribution)
    seconds = []
    for _ in range(1 + repeat):
        started = time.perf_counter()
        sampler.sampling(draws)
        seconds.append(time.perf_counter() - started)
    found[distribution] = {"recbole_ms": round(1e3 * statistics.median(seconds[1:]), 2)}
Path(sys.argv[4]).write_text(json.dumps(found))
