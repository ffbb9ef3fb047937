"""Events encoded per second beside a loop that pads every history, with the same weights in the same run.

    python benchmarks/speed/serve_encode.py --job encode --json benchmarks/results/serve-encode.json

The encoder of the recipe next-item with random weights, and all histories of Beauty ($USERMODEL_DATA_DIR). The padded loop is
plain PyTorch: rectangles of max_history events, 128 users each, every event through every layer, PyTorch's attention with
the bias of the encoder as its mask. Sides take turns; medians are compared. The vectors of both must agree.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from side_by_side import facts, write
from torch import Tensor
from torch.nn.functional import gelu, layer_norm, linear, scaled_dot_product_attention

import usermodel as um
from usermodel.encoders.encode import encode as encode_store
from usermodel.encoders.transformer import Transformer
from usermodel.nn.norms import LAYER_EPS
from usermodel.sampling.protocol import Examples
from usermodel.store.sequence_store import SequenceStore

LOG = "amazon-beauty/Beauty.txt.gz"
GOAL_EVENTS_PER_S, GOAL_RATIO = 1e6, 10
#: The fastest of 32, 64, 128 and 256.
PADDED_USERS = 128


def encode(args: argparse.Namespace) -> dict[str, Any]:
    """Both sides, as one flat object."""
    source = Path(os.environ["USERMODEL_DATA_DIR"]) / LOG
    with tempfile.TemporaryDirectory(prefix="usermodel-encode-") as folder:
        store = um.build_store(um.read_events(source, format="sequences"), Path(folder) / "store")
        encoder = new_encoder(store)
        examples = Examples.histories(store, np.arange(store.n_users), store.offsets[1:], encoder.max_history)
        rows = padded_rows(store, examples, encoder.max_history)
        sides: dict[str, Callable[[], np.ndarray]] = {
            "ours": lambda: encode_store(encoder, store, examples),
            "peer": lambda: padded(encoder, rows),
        }
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        vectors = {name: side() for name, side in sides.items()}
        for _ in range(args.repeat):
            for name, side in sides.items():
                started = time.perf_counter()
                side()
                seconds[name].append(time.perf_counter() - started)
    apart = float(np.abs(vectors["ours"] - vectors["peer"]).max())
    if apart > 1e-4:
        raise SystemExit(f"expected the same vectors from both sides; found {apart} between them")
    ours, peer = (statistics.median(seconds[name]) for name in ("ours", "peer"))
    n_events = int(examples.lengths.sum())
    ratio = peer / ours
    return {
        "job": "encode beauty",
        "seconds": round(ours, 4),
        "seconds_best": round(min(seconds["ours"]), 4),
        "users": len(examples),
        "events": n_events,
        "events_per_s": round(n_events / ours),
        "goal_events_per_s": int(GOAL_EVENTS_PER_S),
        "peer": f"padded eager loop, {PADDED_USERS} users a batch",
        "peer_seconds": round(peer, 4),
        "times_faster_than_peer": round(ratio, 2),
        "goal_times_faster": GOAL_RATIO,
        "reached": n_events / ours >= GOAL_EVENTS_PER_S and ratio >= GOAL_RATIO,
        "largest_difference": apart,
        "precision": "float32",
        "threads": torch.get_num_threads(),
        "repeat": args.repeat,
        **facts("serve_encode.py"),
    }


def new_encoder(store: SequenceStore) -> Transformer:
    """Random weights, with a bias of the distances that is not zero as at the start of training."""
    torch.manual_seed(0)
    encoder = um.recipes.next_item().encoder.build_on(store)
    assert isinstance(encoder, Transformer)
    for block in encoder.blocks:
        torch.nn.init.normal_(block.attention.bias)
    return encoder.eval()


def padded_rows(store: SequenceStore, examples: Examples, width: int) -> Tensor:
    """Item indices with zeros on the right; made before the clock starts."""
    rows = np.zeros((len(examples), width), dtype=np.int64)
    mask = np.arange(width) < examples.lengths[:, None]
    rows[mask] = np.concatenate(
        [store.items[start:stop] for start, stop in zip(examples.start, examples.stop, strict=True)]
    )
    return torch.from_numpy(rows)


@torch.no_grad()
def padded(encoder: Transformer, rows: Tensor) -> np.ndarray:
    """User vectors by the loop that a first version would have."""
    width, heads = rows.shape[1], encoder.blocks[0].attention.heads
    distance = (torch.arange(width)[:, None] - torch.arange(width)).clamp(min=0)
    ahead = torch.ones(width, width, dtype=torch.bool).triu(1)
    masks = [block.attention.bias[:, distance].masked_fill(ahead, -torch.inf) for block in encoder.blocks]
    out = []
    for batch in rows.split(PADDED_USERS):
        x = norm(encoder.items.weight[batch], encoder.norm_in)
        for block, mask in zip(encoder.blocks, masks, strict=True):
            q, k, v = (
                y.unflatten(2, (heads, -1)).transpose(1, 2)
                for y in linear(x, block.attention.qkv.weight, block.attention.qkv.bias).chunk(3, 2)
            )
            mixed = scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
            x = norm(x + block.attention.out(mixed), block.norm_attention)
            part = block.feed_forward.down(gelu(block.feed_forward.up(x)))
            x = norm(x + part, block.norm_feed_forward)
        last = (batch > 0).sum(1) - 1
        out.append(x[torch.arange(len(batch)), last])
    return torch.cat(out).numpy()


def norm(x: Tensor, module: torch.nn.Module) -> Tensor:
    return layer_norm(x, x.shape[-1:], module.weight, module.bias, LAYER_EPS)


def main() -> None:
    """Run both sides and write one flat object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", choices=["encode"], default="encode")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--repeat", type=int, default=7)
    args = parser.parse_args()
    write(encode(args), args.json)


if __name__ == "__main__":
    main()
