"""The loss over the catalogue, forward and backward: seconds of each way, and the memory of a step with a million items.

    OMP_NUM_THREADS=2 python benchmarks/speed/catalogue_loss.py --job time --json benchmarks/results/catalogue-loss.json
    OMP_NUM_THREADS=2 python benchmarks/speed/catalogue_loss.py --job memory --json benchmarks/results/catalogue-memory.json
    OMP_NUM_THREADS=2 python benchmarks/speed/catalogue_loss.py --job rows --json benchmarks/results/catalogue-rows.json

``time`` takes the ways in turns in one process, in fp32, and reports the median and the least of wall seconds, and the
least of processor seconds, which other work on the machine disturbs less. Ways: ``plain`` is cross_entropy of all
logits; ``row-chunks`` is chunks of 64
rows x classes with their softmax, normalised, which is how ours was laid out before; ``ours`` is
`usermodel.losses.softmax.full_softmax`; ``sampled`` is `sampled_softmax` with 256 shared negatives.
``memory`` takes one whole step of the next-item objective with Adam in this process: peak above what was resident once the
model was built. ``rows`` takes whole steps of 512 targets and 256 shared negatives with dense and with lazy updates of the
item table, in turns, after `WARM_UP` of each.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from side_by_side import facts as facts_of
from side_by_side import write
from torch import Tensor

from usermodel.batch import JaggedBatch
from usermodel.encoders.protocol import EncoderModule
from usermodel.encoders.transformer import TransformerConfig
from usermodel.losses.sampled import sampled_softmax
from usermodel.losses.softmax import full_softmax
from usermodel.negatives.uniform import Uniform
from usermodel.objectives.next_item import NextItemConfig
from usermodel.training.optimiser import build, scale_and_clip
from usermodel.training.recipe import Recipe

DIM, N_NEGATIVES, GOAL_GIB = 64, 256, 4.0
#: (rows, classes): Beauty and ML-1M at two batch sizes, and larger catalogues.
SHAPES = ((512, 12_101), (1536, 12_101), (512, 3_416), (1536, 3_416), (512, 100_000), (512, 300_000))
#: Items of the job ``rows``; below AUTO_ROWS too, so that this limit can be judged.
TABLES, WARM_UP = (10_000, 30_000, 100_000, 300_000, 1_000_000), 5
#: The plain way needs all logits at once.
MAX_PLAIN = 1 << 26


def plain(events: Tensor, items: Tensor, target: Tensor) -> None:
    torch.nn.functional.cross_entropy(events @ items.T, target).backward()


def row_chunks(events: Tensor, items: Tensor, target: Tensor) -> None:
    h, w = events.detach(), items.detach()
    grad_events, grad_items, total = torch.empty_like(h), torch.zeros_like(w), torch.zeros(())
    for start in range(0, len(h), 64):
        part = slice(start, start + 64)
        wanted = target[part][:, None]
        logits = h[part] @ w.T
        p = torch.softmax(logits, dim=1)
        lse = logits.amax(1, keepdim=True) - torch.log(p.amax(1, keepdim=True))
        total += (lse - logits.gather(1, wanted)).sum()
        p.scatter_add_(1, wanted, p.new_full((len(p), 1), -1.0))
        grad_events[part] = p @ w
        grad_items += p.T @ h[part]
    events.grad, items.grad = grad_events / len(h), grad_items / len(h)


def ours(events: Tensor, items: Tensor, target: Tensor) -> None:
    full_softmax(events, items, target).backward()


def sampled(events: Tensor, items: Tensor, target: Tensor) -> None:
    ids = torch.randint(len(items), (N_NEGATIVES,))
    log_q = torch.full((N_NEGATIVES,), -1.0) * torch.tensor(float(len(items))).log()
    # As the objective does: only the rows that take part; their gradient then fills a table of zeros.
    known, place = torch.unique(torch.cat([target, ids]), return_inverse=True)
    rows = torch.nn.functional.embedding(known, items)
    sampled_softmax(events, rows, place[: len(target)], place[len(target) :], log_q).backward()


WAYS: dict[str, Callable[[Tensor, Tensor, Tensor], None]] = {
    "plain": plain, "row-chunks": row_chunks, "ours": ours, "sampled": sampled,
}  # fmt: skip


def measure(rows: int, classes: int, seconds: float) -> dict[str, object]:
    """Times of one shape, the ways in turns."""
    torch.manual_seed(0)
    events = torch.randn(rows, DIM).requires_grad_()
    items = (0.3 * torch.randn(classes, DIM)).requires_grad_()
    target = torch.randint(classes, (rows,))
    ways = {name: way for name, way in WAYS.items() if name != "plain" or rows * classes <= MAX_PLAIN}
    wall: dict[str, list[float]] = {name: [] for name in ways}
    processor_time: dict[str, list[float]] = {name: [] for name in ways}
    end, rounds = time.monotonic() + seconds, 0
    # The first round warms up.
    while rounds < 4 or time.monotonic() < end:
        for name, way in ways.items():
            events.grad = items.grad = None
            clock, cpu = time.perf_counter(), time.process_time()
            way(events, items, target)
            if rounds:
                wall[name].append(time.perf_counter() - clock)
                processor_time[name].append(time.process_time() - cpu)
        rounds += 1
    found: dict[str, object] = {"rows": rows, "classes": classes, "rounds": rounds - 1}
    for name in ways:
        found[name] = {
            "median_s": round(statistics.median(wall[name]), 5),
            "least_s": round(min(wall[name]), 5),
            "least_processor_s": round(min(processor_time[name]), 5),
        }
    print(json.dumps(found), file=sys.stderr, flush=True)
    return found


def time_job(args: argparse.Namespace) -> dict[str, object]:
    return {"shapes": [measure(*shape, args.seconds) for shape in SHAPES]}


def resident_gib(peak: bool) -> float:
    if peak:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**30


def batch_of(targets: int, classes: int, length: int = 33) -> JaggedBatch:
    """Histories of random items."""
    users = targets // (length - 1)
    items = torch.randint(1, classes + 1, (users * length,))
    return JaggedBatch(items, torch.arange(len(items)), torch.arange(users + 1) * length)


def memory_job(args: argparse.Namespace) -> dict[str, object]:
    """One step of ``rows`` targets over ``classes`` items with the exact softmax."""
    encoder = TransformerConfig(dim=DIM).build(args.classes)
    objective = NextItemConfig(loss="softmax").build(encoder)
    optimiser = torch.optim.Adam(encoder.parameters(), lr=1e-3, fused=True)
    batch = batch_of(args.rows, args.classes)
    before, started = resident_gib(peak=False), time.perf_counter()
    output = objective(encoder, batch)
    output.loss.backward()
    optimiser.step()
    above = resident_gib(peak=True) - before
    return {
        "rows": output.n_targets,
        "classes": args.classes,
        "weights_gib": round(sum(w.numel() * w.element_size() for w in encoder.parameters()) / 2**30, 3),
        "peak_above_weights_gib": round(above, 3),
        "seconds": round(time.perf_counter() - started, 2),
        "goal_gib": GOAL_GIB,
        "reached": above <= GOAL_GIB,
    }


class Steps:
    """Whole steps of the next-item objective over a catalogue, one way of updating its table."""

    def __init__(self, classes: int, way: str) -> None:
        recipe = Recipe(encoder=TransformerConfig(dim=DIM)).override({"training.row_updates": way})
        recipe = recipe.override({"objective.loss": "sampled-softmax", "objective.n_negatives": N_NEGATIVES})
        self.classes = classes
        self.encoder: EncoderModule = recipe.encoder.build(classes)
        self.objective = recipe.objective.build(self.encoder, Uniform(classes))
        self.optimiser = build(recipe, self.encoder, self.encoder)

    def take(self) -> float:
        """Seconds of a step on histories that nobody has read before."""
        batch, clock = batch_of(512, self.classes), time.perf_counter()
        self.optimiser.zero_grad()
        self.objective(self.encoder, batch).loss.backward()
        scale_and_clip(self.encoder.parameters(), None, None)
        self.optimiser.step()
        return time.perf_counter() - clock


def rows_job(args: argparse.Namespace) -> dict[str, object]:
    """Seconds of a step, dense and lazy, by the size of the table."""
    found = []
    for classes in TABLES:
        ways = {way: Steps(classes, way) for way in ("dense", "lazy")}
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        end, rounds = time.monotonic() + args.seconds, 0
        while rounds < WARM_UP + 5 or time.monotonic() < end:
            for way, steps in ways.items():
                seconds[way].append(steps.take())
            rounds += 1
        row: dict[str, object] = {"items": classes, "rounds": rounds - WARM_UP}
        for way, values in seconds.items():
            row[f"{way}_median_s"] = round(statistics.median(values[WARM_UP:]), 5)
            row[f"{way}_least_s"] = round(min(values[WARM_UP:]), 5)
        print(json.dumps(row), file=sys.stderr, flush=True)
        found.append(row)
    return {"tables": found, "dim": DIM, "negatives": N_NEGATIVES}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--job", choices=("time", "memory", "rows"), default="time")
    parser.add_argument("--json", type=Path, help="where to write the result; default: standard output")
    parser.add_argument("--seconds", type=float, default=15.0, help="time, rows: seconds a shape")
    parser.add_argument("--rows", type=int, default=4096, help="memory: targets")
    parser.add_argument("--classes", type=int, default=1_000_000, help="memory: items")
    args = parser.parse_args()
    found = {"time": time_job, "memory": memory_job, "rows": rows_job}[args.job](args)
    facts = {
        "job": f"catalogue loss, {args.job}",
        **found,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "load_average": os.getloadavg()[0],
        **facts_of("catalogue_loss.py"),
    }
    write(facts, args.json)


if __name__ == "__main__":
    main()
