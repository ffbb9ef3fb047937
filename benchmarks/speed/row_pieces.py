"""What decided how rows are trained on: each piece beside the one it replaced, on the simulated rows of ctr.py.

    OMP_NUM_THREADS=2 python benchmarks/speed/row_pieces.py --json benchmarks/results/ctr-pieces.json

Medians of wall microseconds in one process, the ways of a piece in turns: a batch of 10,000 rows of 39 fields. ``reads``: which of the rows
that are read are different, by sorting and by marks. ``gradients``: their sums by row of the table, as an embedding makes them and as a
sparse product does. ``rows``: taking them out of the table and putting them back, by index and by index_select and index_copy. ``pairs``:
products of all pairs of fields, forward and backward, as torch makes their gradient and by hand. ``products``: the first layer of the
perceptron, forward and backward, in both types.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from ctr import LONG, SHORT, rows
from pieces import medians
from side_by_side import facts, write
from torch import Tensor, nn
from torch.nn.functional import embedding

from usermodel.heads.deepfm import pairs
from usermodel.nn.row_reads import distinct, repeat_rows

BATCH, DIM = 10_000, 16


def torchs_pairs(fields: Tensor) -> Tensor:
    found: Tensor = 0.5 * (fields.sum(1).square() - fields.square().sum(1)).sum(1)
    return found


def main() -> None:
    """Measure all pieces."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    sizes = [*SHORT, *LONG]
    codes, _ = rows(sizes, BATCH, 0)
    starts = np.cumsum([0, *sizes])
    read, size = torch.from_numpy((codes + starts[:-1]).astype(np.int64)).flatten(), int(starts[-1]) + 1
    once, place = distinct(read, size)
    table = torch.randn(size, DIM)
    block = torch.randn(len(once), DIM, requires_grad=True)
    grad = torch.randn(len(read), DIM)
    fields = torch.randn(BATCH, len(sizes), DIM, requires_grad=True)
    of_rows, flat = torch.randn(BATCH), fields.detach().flatten(1).requires_grad_()
    layer, of_layer = nn.Linear(flat.shape[1], 400), torch.randn(BATCH, 400)

    def put_by_index() -> None:
        table[once] = table[once]

    def product(*, bf16: bool) -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            out = layer(flat)
        out.float().backward(of_layer)

    found = {
        "reads": medians(
            {
                "sorted": lambda: torch.unique(read, return_inverse=True),
                "marked": lambda: distinct(read, size),
            },
            rounds=15,
        ),
        "gradients": medians(
            {
                "embedding": lambda: embedding(place, block).backward(grad),
                "sparse_product": lambda: repeat_rows(block, place).backward(grad),
            },
            rounds=15,
        ),
        "rows": medians(
            {
                "index": put_by_index,
                "index_select": lambda: table.index_copy_(0, once, table.index_select(0, once)),
            },
            rounds=15,
        ),
        "pairs": medians(
            {
                "torch": lambda: torchs_pairs(fields).backward(of_rows),
                "by_hand": lambda: pairs(fields).backward(of_rows),
            },
            rounds=15,
        ),
        "products": medians(
            {"fp32": lambda: product(bf16=False), "bf16": lambda: product(bf16=True)}, rounds=15
        ),
    }
    write(
        {**facts("row_pieces.py"), "reads": len(read), "distinct": len(once), "table": size, "pieces": found},
        args.json,
    )


if __name__ == "__main__":
    main()
