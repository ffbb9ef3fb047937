"""How the gradient of the sampled softmax nears that of the full softmax, with the correction by log q and without it.

    python benchmarks/quality/log_q.py --out benchmarks/results/log_q.json

Items, event vectors and a law of targets (Zipf, shuffled over items) are drawn once for each seed; scores lean towards frequent
items, as a trained model's do. For each number of negatives, sampler and draw: the relative error of the gradient with respect to the
item vectors, |sampled - full| / |full|, of the mean loss of 16 events. In-batch negatives are a batch of n targets, of which the
16 events' own are the first. Without correction log q is the same number for all items, that of 1 / items: for uniform draws,
which stand here for control, that is the correction itself.

`slope` is that of log error by log n, fitted to the means: -0.5 is the rate of an unbiased estimate, 0 that of a bias that
more draws do not mend.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from usermodel.losses.sampled import sampled_softmax
from usermodel.losses.softmax import full_softmax
from usermodel.negatives.in_batch import InBatch
from usermodel.negatives.popularity import Popularity
from usermodel.negatives.protocol import DrawContext, NegativeSampler
from usermodel.negatives.uniform import Uniform

sys.path.insert(0, str(Path(__file__).parent))
from seeds import interval

ITEMS, DIM, EVENTS = 2_000, 16, 16
NUMBERS = (16, 64, 256, 1024, 4096)


class World:
    """Items with a law, and events that look for them."""

    def __init__(self, seed: int, n_items: int = ITEMS) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        rng = np.random.default_rng(seed)
        self.counts = np.ceil(1e5 / np.arange(1, n_items + 1))
        rng.shuffle(self.counts)
        self.q = torch.from_numpy(self.counts / self.counts.sum())
        noise = torch.randn(n_items, DIM, dtype=torch.float64, generator=self.generator)
        # The first dimension of items is how frequent they are, and all events look at it.
        popularity = self.q.log()[:, None]
        popularity = (popularity - popularity.mean()) / popularity.std()
        self.items = torch.cat([popularity, noise[:, 1:]], 1)

    def samplers(self) -> dict[str, NegativeSampler]:
        """By name."""
        n_items = len(self.counts)
        return {
            "uniform": Uniform(n_items),
            "popularity": Popularity(self.counts),
            "in-batch": InBatch(self.counts),
        }

    def targets(self, n: int) -> Tensor:
        """Items 1 to n_items by their law."""
        return torch.multinomial(self.q, n, replacement=True, generator=self.generator) + 1

    def events(self) -> Tensor:
        """Vectors of events that have not been seen before."""
        vectors = torch.randn(EVENTS, DIM, dtype=torch.float64, generator=self.generator) / math.sqrt(DIM)
        vectors[:, 0] = 0.5
        return vectors

    def errors(self, sampler: NegativeSampler, n: int) -> tuple[float, float]:
        """Of one draw: with the correction, and without."""
        events, batch = self.events(), self.targets(max(n, EVENTS))
        drawn = sampler.sample(batch, DrawContext(events), n=n, generator=self.generator)
        assert drawn.log_q is not None
        target = batch[:EVENTS] - 1
        items = self.items.requires_grad_()
        (full,) = torch.autograd.grad(full_softmax(events, items, target), items)
        constant = torch.full_like(drawn.log_q, -math.log(len(items)))
        found = []
        for log_q in (drawn.log_q, constant):
            loss = sampled_softmax(events, items, target, drawn.ids - 1, log_q.double())
            (ours,) = torch.autograd.grad(loss, items)
            found.append(float((ours - full).norm() / full.norm()))
        return found[0], found[1]


def slope(numbers: tuple[int, ...], means: list[float]) -> float:
    return float(np.polyfit(np.log(numbers), np.log(means), 1)[0])


def measure(draws: int, numbers: tuple[int, ...] = NUMBERS, n_items: int = ITEMS) -> dict[str, Any]:
    """Every sampler, with and without the correction; a world for each draw."""
    errors: dict[str, dict[int, list[float]]] = {}
    for seed in range(draws):
        world = World(seed, n_items)
        for name, sampler in world.samplers().items():
            for n in numbers:
                pair = world.errors(sampler, n)
                for way, error in zip(("corrected", "uncorrected"), pair, strict=True):
                    errors.setdefault(f"{name}/{way}", {n: [] for n in numbers})[n].append(error)
    result: dict[str, Any] = {}
    for name, by_n in errors.items():
        means = [sum(by_n[n]) / draws for n in numbers]
        rows = {str(n): interval(by_n[n]) for n in numbers}
        result[name] = {"error": rows, "slope": slope(numbers, means)}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    result = {
        "command": " ".join(["python", "benchmarks/quality/log_q.py", *sys.argv[1:]]),
        "items": ITEMS,
        "events": EVENTS,
        "dim": DIM,
        "draws": args.draws,
        "law": "Zipf, exponent 1",
        "samplers": measure(args.draws),
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
