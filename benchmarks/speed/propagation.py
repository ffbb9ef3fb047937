"""Sums of neighbours' vectors on a graph of users and items: embedding_bag beside sparse matrices of torch and scipy.

    python benchmarks/speed/propagation.py --json benchmarks/results/propagation.json

The graph is invented and as large as Gowalla's: popular items by a power law. Each way computes ``R @ items`` and ``R.T @ users``
in float32; the least of all rounds is what the machine can do, the median what it did. Writes one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy import sparse
from torch.nn.functional import embedding_bag

from usermodel.baselines.interactions import Interactions
from usermodel.baselines.light_gcn import graph_of

USERS, ITEMS, EVENTS, DIM = 29_858, 40_981, 900_000, 64


def invented() -> Interactions:
    rng = np.random.default_rng(0)
    popularity = 1 / np.arange(1, ITEMS + 1) ** 0.6
    items = rng.choice(ITEMS, EVENTS, p=popularity / popularity.sum()) + 1
    return Interactions.from_arrays(rng.integers(0, USERS, EVENTS), items, n_users=USERS, n_items=ITEMS)


def _csr(matrix: sparse.csr_array) -> torch.Tensor:
    parts = (torch.from_numpy(part) for part in (matrix.indptr, matrix.indices, matrix.data))
    return torch.sparse_csr_tensor(*parts, size=matrix.shape, check_invariants=False)


def ways(pairs: Interactions) -> dict[str, Callable[[], object]]:
    torch.manual_seed(0)
    users, items = torch.randn(USERS, DIM), torch.randn(ITEMS, DIM)
    there = pairs.matrix()
    back = sparse.csr_array(there.T)
    ours, theirs = _csr(there), _csr(back)
    graph = graph_of(pairs)
    narrow = users.numpy(), items.numpy()

    def bags() -> tuple[torch.Tensor, torch.Tensor]:
        first = embedding_bag(graph.items_of, items, graph.items_from, mode="sum", include_last_offset=True)
        second = embedding_bag(graph.users_of, users, graph.users_from, mode="sum", include_last_offset=True)
        return first, second

    def one_pass() -> None:
        learned = users.clone().requires_grad_(), items.clone().requires_grad_()
        sum(part.sum() for part in graph(*learned)).backward()

    torch.testing.assert_close(bags()[0], ours @ items, atol=1e-3, rtol=1e-4)
    return {
        "embedding_bag": bags,
        "torch.sparse_csr": lambda: (ours @ items, theirs @ users),
        "scipy.sparse": lambda: (there @ narrow[1], back @ narrow[0]),
        "Propagation, forward and backward": one_pass,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
    pairs = invented()
    found: dict[str, list[float]] = {}
    all_ways = ways(pairs)
    for _ in range(arguments.rounds):
        # In turns, so that whatever else runs disturbs all alike.
        for name, work in all_ways.items():
            begin = time.perf_counter()
            work()
            found.setdefault(name, []).append(time.perf_counter() - begin)
    result = {
        "command": "make bench-propagation",
        "users": USERS,
        "items": ITEMS,
        "edges": len(pairs),
        "dim": DIM,
        "threads": torch.get_num_threads(),
        "seconds": {
            name: {"least": round(min(times), 5), "median": round(statistics.median(times), 5)}
            for name, times in found.items()
        },
    }
    arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["seconds"], indent=1))


if __name__ == "__main__":
    main()
