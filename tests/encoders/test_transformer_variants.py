"""Everything that can be switched on, switched on: against one user at a time, computed from parameters by name."""

import math
from itertools import pairwise

import pytest
import torch

from usermodel.batch import collate
from usermodel.encoders.catalogue import Catalogue
from usermodel.encoders.transformer import TransformerConfig
from usermodel.events.readers import read_events
from usermodel.events.simulate import SimulateConfig, simulate
from usermodel.nn.inputs import InputsConfig
from usermodel.nn.item_features import ItemFeature
from usermodel.nn.item_table import HashedItemsConfig, hashed_rows
from usermodel.objectives.next_item import NextItemConfig
from usermodel.sampling.protocol import Examples
from usermodel.store.build import build_store

N_ITEMS, DIM, HEADS = 30, 12, 3
HISTORIES = [[3, 1, 4, 1, 5], [9], [], [2, 6, 5, 3, 5, 8, 9, 7]]
ESASREC = {"norm": "pre", "feed_forward": "swiglu", "residual": "gated"}
INPUTS = InputsConfig(
    event_type=True,
    time_gap_buckets=30,
    watch_time_buckets=40,
    item_features=("genre",),
    score_item_features=True,
)


def bucket(value: int, n: int) -> int:
    return min(int(math.log(max(abs(value), 1)) / 0.301), n - 1)


def reference(p, config, batch, start: int, stop: int) -> torch.Tensor:
    """Events of one user."""
    items, times = batch.item_index[start:stop], batch.timestamps_s[start:stop].tolist()
    types, watched = (batch.features[name][start:stop] for name in ("event_type", "watch_time_ms"))
    x = p["items.weight"][hashed_rows(items, config.items)].flatten(1)
    x = x + p["item_features.parts.0.weights.weight"][items % 5]
    gaps = [0] + [bucket(b - a, 30) + 1 for a, b in pairwise(times)]
    x = x + p["inputs.tables.event_type.weight"][types.long()] + p["inputs.tables.time_gap.weight"][gaps]
    x = (
        x
        + p["inputs.tables.watch_time_ms.weight"][
            [0 if w < 0 else bucket(w, 40) + 1 for w in watched.tolist()]
        ]
    )

    def norm(y, name):
        return y / (y.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt() * p[name + ".weight"]

    def linear(y, name):
        return y @ p[name + ".weight"].T + p[name + ".bias"]

    x, n, d = norm(x, "norm_in"), stop - start, DIM // HEADS
    turn = torch.polar(
        torch.ones(n, d // 2),
        torch.arange(n)[:, None] * torch.tensor([10_000 ** (-2 * i / d) for i in range(d // 2)]),
    )
    for layer in range(config.layers):
        own = f"blocks.{layer}."
        q, k, v = (
            linear(norm(x, own + "norm_attention"), own + "attention.qkv").view(n, 3, HEADS, d).unbind(1)
        )
        q, k = (torch.view_as_complex(y.reshape(n, HEADS, -1, 2)) * turn[:, None] for y in (q, k))
        scores = torch.einsum("qhd,khd->hqk", q, k.conj()).real / math.sqrt(d)
        by_time = torch.tensor([[bucket(a - b, config.time_bias_buckets) for b in times] for a in times])
        scores = scores + p[own + "attention.time_bias"][by_time].permute(2, 0, 1)
        scores = scores.masked_fill(torch.ones(n, n).triu(1).bool(), -torch.inf)
        mixed = torch.einsum("hqk,khd->qhd", scores.softmax(-1), v).flatten(1)
        x = x + torch.sigmoid(linear(x, own + "gate_attention")) * linear(mixed, own + "attention.out")
        up = linear(norm(x, own + "norm_feed_forward"), own + "feed_forward.up")
        gate, value = up[:, : config.hidden], up[:, config.hidden :]
        part = linear(gate * torch.sigmoid(gate) * value, own + "feed_forward.down")
        x = x + torch.sigmoid(linear(x, own + "gate_feed_forward")) * part
    return norm(x, "norm_out")


def test_all_of_it_at_once_and_its_gradients(make_batch):
    config = TransformerConfig(
        **ESASREC, dim=DIM, heads=HEADS, hidden=20, max_history=8, norm_kind="rms", positions="rotary",
        time_bias_buckets=20, items=HashedItemsConfig(table_rows=40), inputs=INPUTS,
    )  # fmt: skip
    genre = ItemFeature("genre", "codes", 4, 1, (torch.arange(N_ITEMS + 1) % 5)[:, None].int())
    encoder = config.build_for(Catalogue(N_ITEMS, ("a", "b", "c"), (genre,))).eval()
    torch.manual_seed(0)
    for name, weight in encoder.named_parameters():
        torch.nn.init.normal_(weight, std=0.3)
        if ".tables." in name or "item_features" in name:
            weight.data[0] = 0
    batch, p = make_batch(*HISTORIES), dict(encoder.named_parameters())
    found = encoder(batch).events
    borders = batch.offsets.tolist()
    wanted = torch.cat([reference(p, config, batch, a, b) for a, b in pairwise(borders) if b > a])
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-4)
    vectors = p["items.weight"][hashed_rows(torch.arange(1, N_ITEMS + 1), config.items)].flatten(1)
    vectors = vectors + p["item_features.parts.0.weights.weight"][torch.arange(1, N_ITEMS + 1) % 5]
    torch.testing.assert_close(encoder.item_vectors(), vectors)
    weight, names = torch.randn_like(found), [name for name in p if name != "blocks.0.attention.qkv.bias"]
    ours = torch.autograd.grad((found * weight).sum(), [p[name] for name in names])
    theirs = torch.autograd.grad((wanted * weight).sum(), [p[name] for name in names])
    for name, a, b in zip(names, ours, theirs, strict=True):
        padded = ".tables." in name or "item_features" in name
        a, b = (a[1:], b[1:]) if padded else (a, b)
        torch.testing.assert_close(a, b, atol=5e-5, rtol=1e-3, msg=lambda text, name=name: f"{name}: {text}")


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    logs = simulate(SimulateConfig(n_users=120, n_items=150, n_events=2_400), folder / "logs")
    log = read_events(logs / "events.parquet", event_type="event_type", watch_time="watch_time_ms")
    return build_store(log, folder / "store", items_table=logs / "items.parquet")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        ESASREC,
        {"norm_kind": "rms", "norm": "pre"},
        {"feed_forward": "swiglu"},
        {"residual": "gated"},
        {"positions": "rotary"},
        {"time_bias_buckets": 64},
        {"time_bias_buckets": 64, "positions": "none"},
        {"items": {"kind": "hashed", "table_rows": 100}},
        {"items": {"kind": "hashed", "table_rows": 100, "join": "sum"}},
        {"inputs": {"event_type": True, "time_gap_buckets": 64, "watch_time_buckets": 64}},
        {"inputs": {"event_type": True, "time_gap_buckets": 64, "merge": "gated"}},
        {"inputs": {"item_features": ["category", "duration_ms"], "score_item_features": True}},
        {"causal": True, "inputs": {"item_features": ["category"]}},
    ],
    ids=str,
)
def test_every_variant_learns_in_a_few_steps(simulated, changes):
    config = TransformerConfig(dim=16, hidden=32, layers=1, max_history=20, dropout=0.0).override(changes)
    torch.manual_seed(0)
    encoder = config.build_for(config.catalogue(simulated)).train()
    objective = NextItemConfig().build(encoder)
    users = torch.arange(simulated.n_users).numpy()
    examples = Examples.histories(simulated, users, simulated.offsets[1:], config.max_history)
    batch = collate(simulated, examples)
    optimiser = torch.optim.Adam(encoder.parameters(), lr=1e-2)
    losses = []
    for _ in range(15):
        loss = objective(encoder, batch).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    # Fifteen steps leave chance, log(150) = 5.0, well behind.
    assert losses[0] == pytest.approx(math.log(simulated.n_items), abs=0.2)
    assert losses[-1] < losses[0] - 0.3
