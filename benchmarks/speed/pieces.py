"""What decided how a step is computed on a processor: each piece beside the one it replaced, or beside what it costs.

    OMP_NUM_THREADS=2 python benchmarks/speed/pieces.py --json benchmarks/results/pieces.json

Medians of wall microseconds in one process, the ways of a piece in turns. Pieces: exponentials, dropout masks,
attention without gradients, a feed-forward part in both types, a further rectangle of attention, the products of
the loss beside all of it, and torch.compile of the part of a block that looks at each event alone (needs a C++ compiler;
left out without one).
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from side_by_side import facts, write
from torch import Tensor, nn

from usermodel.losses.precision import products_in
from usermodel.losses.softmax import full_softmax
from usermodel.nn import ragged
from usermodel.nn.attention import SelfAttention
from usermodel.nn.attention_kernel import attend
from usermodel.nn.blocks import FeedForward
from usermodel.nn.dropout import keep_mask

DIM, CLASSES, EVENTS, BF16 = 64, 12_101, 4096, torch.bfloat16
Way = Callable[[], object]


def medians(ways: dict[str, Way], rounds: int = 41) -> dict[str, float]:
    """Microseconds of each way, after two rounds that do not count."""
    seen: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 2):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            seen[name].append(1e6 * (time.perf_counter() - started))
    return {f"{name}_us": round(statistics.median(times[2:]), 1) for name, times in seen.items()}


def exponentials() -> dict[str, float]:
    """Of a chunk of logits."""
    x = torch.randn(CLASSES, 128)
    y, out, small = x.to(BF16), torch.empty_like(x), torch.empty_like(x, dtype=BF16)
    return medians(
        {
            "exp_fp32": lambda: torch.exp(x, out=out),
            "exp2_fp32": lambda: torch.exp2(x, out=out),
            "exp_bf16": lambda: torch.exp(y, out=small),
            "exp2_bf16": lambda: torch.exp2(y, out=small),
        }
    )


def masks() -> dict[str, float]:
    x = torch.randn(EVENTS, DIM)
    return medians({"torch": lambda: torch.empty_like(x).bernoulli_(0.8), "ours": lambda: keep_mask(x, 0.2)})


def attention() -> dict[str, dict[str, float]]:
    """Causal, 2 heads of 32, without gradients, plain and with a bias; about as many events whatever the width."""
    found = {}
    for width in (8, 50, 200, 512):
        q, k, v = qkv = torch.randn(3, max(1, EVENTS // width), 2, width, DIM // 2)
        hidden = torch.ones(width, width).triu(1) > 0
        plain = torch.zeros(1, 1, width, width).masked_fill(hidden, -torch.inf)
        bias = torch.randn(1, 2, width, width).masked_fill(hidden, -torch.inf)
        torchs = partial(nn.functional.scaled_dot_product_attention, q, k, v)
        with torch.no_grad():
            ways: dict[str, Way] = {
                "torch": partial(torchs, is_causal=True),
                "ours": partial(attend, qkv, plain),
                "torch_bias": partial(torchs, attn_mask=bias),
                "ours_bias": partial(attend, qkv, bias),
            }
            found[f"width_{width}"] = medians(ways, rounds=15)
    return found


def training_attention() -> dict[str, dict[str, float]]:
    """The same without a bias, forward and backward."""
    found = {}
    for width in (8, 50, 200, 512):
        qkv = torch.randn(3, max(1, EVENTS // width), 2, width, DIM // 2, requires_grad=True)
        plain = torch.zeros(1, 1, width, width).masked_fill(torch.ones(width, width).triu(1) > 0, -torch.inf)

        # Not of a sum: its gradient is one number seen many times, which products take a slow road for.
        grad = torch.randn(qkv.shape[1:])

        def torchs(qkv: Tensor = qkv, grad: Tensor = grad) -> None:
            q, k, v = qkv.unbind(0)
            nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True).backward(grad)

        def ours(qkv: Tensor = qkv, plain: Tensor = plain, grad: Tensor = grad) -> None:
            attend(qkv, plain).backward(grad)

        found[f"width_{width}"] = medians({"torch": torchs, "ours": ours}, rounds=15)
    return found


def rectangles() -> dict[str, float]:
    """A layer of attention, forward and backward: one more rectangle, and one more pair of events."""
    layer = SelfAttention(DIM, 2, causal=True, max_distance=50)

    def both(lengths: list[int], cost: int) -> Way:
        offsets = torch.tensor([0, *lengths]).cumsum(0)
        with patch.dict(ragged.RECTANGLE_COST, cpu=cost):
            layout = ragged.Layout.of(offsets)
        x = torch.randn(int(offsets[-1]), DIM, requires_grad=True)
        return lambda: layer(x, layout).sum().backward()

    # As many events, in one rectangle of width 32 or in five of widths 2 to 32.
    lengths = [2, 4, 8, 16] * 16 + [32] * 16
    ways = {"one": both(lengths, 1 << 40), "five": both(lengths, 0)}
    # Twice as many users of width 32 in one rectangle: the pairs, and the events that go with them.
    ways |= {"wide": both([32] * 80, 0), "wider": both([32] * 160, 0)}
    found = medians(ways)
    pair = (found["wider_us"] - found["wide_us"]) / (80 * 32**2)
    saved = 80 * 32**2 - sum(16 * width**2 for width in (2, 4, 8, 16, 32))
    more = (found["five_us"] - found["one_us"] + saved * pair) / 4
    return found | {"pairs_as_long_as_one_more": round(more / pair)}


def feed_forward() -> dict[str, dict[str, float]]:
    """Forward and backward, the number of events another each time, as in training."""
    found = {}
    for dim in (64, 128, 256, 512):
        part = FeedForward(dim, 4 * dim)
        x, sizes = torch.randn(EVENTS, dim), iter(range(10_000))

        def step(*, bf16: bool, part: nn.Module = part, x: Tensor = x, sizes: Any = sizes) -> None:
            # Both ways meet the same sizes: two calls share one.
            rows = x[: 2000 + next(sizes) // 2]
            with torch.autocast("cpu", dtype=BF16, enabled=bf16):
                out = part(rows)
            out.float().sum().backward()

        ways: dict[str, Way] = {
            "fp32": lambda step=step: step(bf16=False),
            "bf16": lambda step=step: step(bf16=True),
        }
        found[f"dim_{dim}"] = medians(ways, rounds=15)
    return found


def loss() -> dict[str, float]:
    """Per 256 rows in bfloat16: the three products alone, and the loss with its gradients; and the rates."""
    rows, n = 256, 4096
    w, h = torch.randn(CLASSES, DIM).to(BF16), torch.randn(rows, DIM).to(BF16)
    p, for_rows, for_items = (
        torch.empty(shape, dtype=BF16) for shape in ((CLASSES, rows), (rows, DIM), (CLASSES, DIM))
    )

    def products() -> None:
        torch.mm(w, h.T, out=p)
        torch.mm(p.T, w, out=for_rows)
        torch.mm(p, h, out=for_items)

    events = torch.randn(n, DIM, requires_grad=True)
    items = (0.3 * torch.randn(CLASSES, DIM)).requires_grad_()
    target = torch.randint(CLASSES, (n,))

    def whole() -> None:
        items.grad = events.grad = None
        with products_in(BF16):
            full_softmax(events, items, target).backward()

    large = torch.randn(2048, 2048).to(BF16)
    found = medians({"products": products, "whole": whole, "large_product": lambda: large @ large}, rounds=15)
    found["whole_us"] = round(found["whole_us"] * rows / n, 1)
    found["products_gflop_s"] = round(3 * 2e-3 * CLASSES * DIM * rows / found["products_us"], 1)
    found["large_gflop_s"] = round(2e-3 * 2048**3 / found["large_product_us"], 1)
    return found


class TokenWise(nn.Module):
    """The part of a post-norm block that looks at each event alone."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.feed_forward = FeedForward(dim, 4 * dim)
        self.before, self.after = nn.LayerNorm(dim), nn.LayerNorm(dim)

    def forward(self, x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
        """``y`` is what attention found."""
        x = self.before(x + y * mask)
        out: Tensor = self.after(x + self.feed_forward(x) * mask)
        return out


def compilation() -> dict[str, dict[str, float]]:
    """Forward and backward, plain and compiled for any number of events; seconds of the first call."""
    found = {}
    for dim in (64, 256):
        part = TokenWise(dim)
        made = torch.compile(part, dynamic=True)
        x, y, mask = (torch.randn(EVENTS, dim) for _ in range(3))

        def step(module: Any, n: int = EVENTS, x: Tensor = x, y: Tensor = y, mask: Tensor = mask) -> None:
            module(x[:n], y[:n], mask[:n]).sum().backward()

        started = time.perf_counter()
        step(made)
        first = time.perf_counter() - started
        step(made, EVENTS - 7)
        ways: dict[str, Way] = {
            "plain": lambda step=step, part=part: step(part),
            "compiled": lambda step=step, made=made: step(made),
        }
        found[f"dim_{dim}"] = medians(ways, rounds=15) | {"first_call_s": round(first, 1)}
    return found


def main() -> None:
    """Measure all pieces and write one object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.manual_seed(0)
    pieces = [exponentials, masks, attention, training_attention, rectangles, feed_forward, loss]
    result: dict[str, Any] = {"job": "pieces of a step"} | {piece.__name__: piece() for piece in pieces}
    if shutil.which("c++") or shutil.which("g++"):
        result["compilation"] = compilation()
    write(result | facts("pieces.py"), args.json)


if __name__ == "__main__":
    main()
