import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from usermodel.nn.attention import SelfAttention
from usermodel.nn.blocks import Block, FeedForward
from usermodel.nn.norms import make_norm
from usermodel.nn.ragged import Layout

DIM, HEADS, HIDDEN = 8, 2, 20
OFFSETS = torch.tensor([0, 4, 5, 5, 11])


def block(norm: str, causal: bool, dropout: float = 0.0) -> Block:
    torch.manual_seed(0)
    attention = SelfAttention(DIM, HEADS, causal=causal)
    module = Block(attention, FeedForward(DIM, HIDDEN), dim=DIM, norm=norm, dropout=dropout)
    for weight in module.parameters():
        nn.init.normal_(weight, std=0.5)
    return module.eval()


def torch_layer(ours: Block, norm: str) -> nn.TransformerEncoderLayer:
    layer = nn.TransformerEncoderLayer(
        DIM, HEADS, HIDDEN, dropout=0.0, activation="gelu", layer_norm_eps=1e-12, norm_first=norm == "pre"
    )
    names = {
        "self_attn.in_proj_": ours.attention.qkv,
        "self_attn.out_proj.": ours.attention.out,
        "linear1.": ours.feed_forward.up,
        "linear2.": ours.feed_forward.down,
        "norm1.": ours.norm_attention,
        "norm2.": ours.norm_feed_forward,
    }
    layer.load_state_dict(
        {name + kind: getattr(part, kind) for name, part in names.items() for kind in ("weight", "bias")}
    )
    # The layer's fast path is another implementation; training mode with no dropout takes the plain one.
    return layer.train()


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("norm", ["post", "pre"])
def test_equals_torchs_encoder_layer(norm, causal):
    ours = block(norm, causal)
    layer = torch_layer(ours, norm)
    x = torch.randn(11, DIM)
    found = ours(x, Layout.of(OFFSETS))
    for start, stop in pairwise(OFFSETS.tolist()):
        n = stop - start
        if n == 0:
            continue
        mask = nn.Transformer.generate_square_subsequent_mask(n) if causal else torch.zeros(n, n)
        torch.testing.assert_close(
            found[start:stop], layer(x[start:stop, None], src_mask=mask)[:, 0], atol=1e-5, rtol=1e-5
        )


def test_feed_forward_uses_the_exact_gelu():
    torch.manual_seed(0)
    module = FeedForward(3, 5)
    x = 3 * torch.randn(7, 3)
    h = x @ module.up.weight.T + module.up.bias
    gelu = torch.tensor([[v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in row] for row in h.tolist()])
    torch.testing.assert_close(
        module(x), gelu @ module.down.weight.T + module.down.bias, atol=1e-6, rtol=1e-5
    )


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_dropout_is_on_both_parts_and_only_in_training(norm):
    module = block(norm, True, dropout=0.5)
    x, layout = torch.randn(11, DIM), Layout.of(OFFSETS)
    assert torch.equal(module(x, layout), module(x, layout))
    module.train()
    assert not torch.equal(module(x, layout), module(x, layout))


def test_swiglu_by_hand():
    torch.manual_seed(0)
    module = FeedForward(3, 5, "swiglu")
    x = 3 * torch.randn(7, 3)
    gate, value = module.up.weight[:5], module.up.weight[5:]
    rows = []
    for row in x:
        g = gate @ row + module.up.bias[:5]
        swish = torch.tensor([v / (1 + math.exp(-v)) for v in g.tolist()])
        rows.append(module.down.weight @ (swish * (value @ row + module.up.bias[5:])) + module.down.bias)
    torch.testing.assert_close(module(x), torch.stack(rows), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", ["layer", "rms"])
def test_norms_by_hand(kind):
    torch.manual_seed(0)
    module = make_norm(kind, 4)
    for weight in module.parameters():
        nn.init.normal_(weight)
    x = torch.tensor([[1.0, 2.0, 3.0, 6.0], [0.01, -0.02, 0.02, 0.0]])
    for row, found in zip(x.tolist(), module(x), strict=True):
        mean = sum(row) / 4 if kind == "layer" else 0.0
        spread = sum((v - mean) ** 2 for v in row) / 4 + (1e-12 if kind == "layer" else 1e-6)
        wanted = torch.tensor([(v - mean) / math.sqrt(spread) for v in row]) * module.weight
        torch.testing.assert_close(found, wanted + getattr(module, "bias", 0), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", ["layer", "rms"])
@pytest.mark.parametrize("norm", ["post", "pre"])
def test_a_gated_residual_is_x_plus_gate_times_part(norm, kind):
    torch.manual_seed(0)
    parts = SelfAttention(DIM, HEADS, causal=True), FeedForward(DIM, HIDDEN, "swiglu")
    module = Block(*parts, dim=DIM, norm=norm, dropout=0.3, norm_kind=kind, residual="gated").eval()
    for weight in module.parameters():
        nn.init.normal_(weight, std=0.5)
    x, layout = torch.randn(11, DIM), Layout.of(OFFSETS)

    def gate(linear, y):
        return 1 / (1 + torch.exp(-(y @ linear.weight.T + linear.bias)))

    if norm == "pre":
        y = x + gate(module.gate_attention, x) * parts[0](module.norm_attention(x), layout)
        y = y + gate(module.gate_feed_forward, y) * parts[1](module.norm_feed_forward(y))
    else:
        y = module.norm_attention(x + gate(module.gate_attention, x) * parts[0](x, layout))
        y = module.norm_feed_forward(y + gate(module.gate_feed_forward, y) * parts[1](y))
    torch.testing.assert_close(module(x, layout), y, atol=1e-5, rtol=1e-5)
    assert isinstance(module.norm_attention, nn.RMSNorm if kind == "rms" else nn.LayerNorm)
