"""The transformer against a plain one: padded by nothing, one user at a time, explicit masks."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from usermodel.encoders.transformer import Transformer, TransformerConfig
from usermodel.errors import ConfigError

N_ITEMS = 30
HISTORIES = [[3, 1, 4, 1, 5], [9], [], [2, 6, 5, 3, 5, 8, 9, 7], [30, 29], [1, 1, 1, 1, 1, 1, 1]]


def build(**changes) -> Transformer:
    torch.manual_seed(0)
    config = TransformerConfig(
        **({"dim": 12, "heads": 3, "hidden": 20, "layers": 2, "max_history": 8} | changes)
    )
    encoder = config.build(N_ITEMS)
    for name, weight in encoder.named_parameters():
        if name != "items.weight":
            nn.init.normal_(weight, std=0.3)
    return encoder.eval()


def mask_of(p: dict, layer: int, encoder: Transformer, heads: int, n: int) -> torch.Tensor:
    mask = torch.zeros(heads, n, n)
    bias, size = p.get(f"blocks.{layer}.attention.bias"), encoder.max_history
    for query in range(n):
        for key in range(n):
            if encoder.causal and key > query:
                mask[:, query, key] = -torch.inf
            elif bias is not None:
                far = min(abs(query - key), size - 1)
                mask[:, query, key] = bias[:, far if key <= query else size + far]
    return mask


def reference(
    encoder: Transformer, heads: int, pre: bool, readout: str, ids: list[int], behind: bool = False
):
    """Events ``[n, dim]`` and the user's vector, from the encoder's parameters by name; ``behind``: with a mask as the last event."""
    p, dim, n = dict(encoder.named_parameters()), encoder.dim, len(ids) + behind
    if not ids:
        return torch.zeros(0, dim), torch.zeros(dim)

    def norm(x, name):
        return F.layer_norm(x, (dim,), p[name + ".weight"], p[name + ".bias"], eps=1e-12)

    x = p["items.weight"][torch.tensor(ids)]
    x = torch.cat([x, p["mask_token"][None]]) if behind else x
    if encoder.positions == "from_start":
        x = x + p["places.weight"][:n]
    elif encoder.positions == "from_end":
        x = x + p["places.weight"][:n].flip(0)
    x = norm(x, "norm_in")
    for layer in range(len(encoder.blocks)):
        own = f"blocks.{layer}."
        mask = mask_of(p, layer, encoder, heads, n)

        def attend(y, own=own, mask=mask):
            part = y[:, None]
            out, _ = F.multi_head_attention_forward(
                part, part, part, dim, heads, p[own + "attention.qkv.weight"], p[own + "attention.qkv.bias"],
                None, None, False, 0.0, p[own + "attention.out.weight"], p[own + "attention.out.bias"],
                training=False, need_weights=False, attn_mask=mask,
            )  # fmt: skip
            return out[:, 0]

        def feed(y, own=own):
            h = F.gelu(F.linear(y, p[own + "feed_forward.up.weight"], p[own + "feed_forward.up.bias"]))
            return F.linear(h, p[own + "feed_forward.down.weight"], p[own + "feed_forward.down.bias"])

        if pre:
            x = x + attend(norm(x, own + "norm_attention"))
            x = x + feed(norm(x, own + "norm_feed_forward"))
        else:
            x = norm(x + attend(x), own + "norm_attention")
            x = norm(x + feed(x), own + "norm_feed_forward")
    if pre:
        x = norm(x, "norm_out")
    query = p.get("pooling.query", torch.zeros(dim))
    return x, {"last": x[-1], "mean": x.mean(0), "attention": torch.softmax(x @ query, 0) @ x}[readout]


def both(encoder: Transformer, pre: bool, readout: str, ids: list[int]):
    """`reference`, where a mask behind the history is there for the user's vector alone."""
    if readout != "mask":
        return reference(encoder, 3, pre, readout, ids)
    events, _ = reference(encoder, 3, pre, "last", ids)
    return events, reference(encoder, 3, pre, "last", ids, behind=True)[1]


@pytest.mark.parametrize("readout", ["last", "mean", "attention", "mask"])
@pytest.mark.parametrize("positions", ["relative", "from_end", "from_start", "none"])
@pytest.mark.parametrize(("norm", "causal"), [("post", True), ("post", False), ("pre", True), ("pre", False)])
def test_equals_the_plain_transformer(make_batch, norm, causal, positions, readout):
    mask_token = readout == "mask"
    encoder = build(norm=norm, causal=causal, positions=positions, readout=readout, mask_token=mask_token)
    found = encoder(make_batch(*HISTORIES))
    wanted = [both(encoder, norm == "pre", readout, ids) for ids in HISTORIES]
    torch.testing.assert_close(
        found.events, torch.cat([events for events, _ in wanted]), atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(found.users, torch.stack([user for _, user in wanted]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("norm", "causal", "positions", "readout"),
    [
        ("post", True, "relative", "attention"),
        ("pre", False, "relative", "attention"),
        ("post", True, "from_end", "attention"),
        ("post", False, "from_end", "mask"),
    ],
)
def test_gradients_equal_the_plain_transformers(make_batch, norm, causal, positions, readout):
    mask_token = readout == "mask"
    encoder = build(norm=norm, causal=causal, positions=positions, readout=readout, mask_token=mask_token)
    found = encoder(make_batch(*HISTORIES))
    wanted = [both(encoder, norm == "pre", readout, ids) for ids in HISTORIES]
    events, users = torch.cat([events for events, _ in wanted]), torch.stack([user for _, user in wanted])
    a, b = torch.randn_like(events), torch.randn_like(users)
    names, parameters = zip(*encoder.named_parameters(), strict=True)
    ours = torch.autograd.grad((found.events * a).sum() + (found.users * b).sum(), parameters)
    theirs = torch.autograd.grad((events * a).sum() + (users * b).sum(), parameters)
    for name, x, y in zip(names, ours, theirs, strict=True):
        torch.testing.assert_close(x, y, atol=2e-5, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


def test_padding_has_no_vector_and_items_do():
    encoder = build()
    assert not encoder.items.weight[0].any()
    assert encoder.item_vectors().shape == (N_ITEMS, 12)
    assert torch.equal(encoder.item_vectors(torch.tensor([7, 1])), encoder.item_vectors()[[6, 0]])


def test_the_padding_row_stays_zero_in_training(make_batch):
    encoder = build()
    optimiser = torch.optim.Adam(encoder.parameters(), lr=0.1, weight_decay=0.1, fused=True)
    (encoder(make_batch(*HISTORIES)).users.sum() + encoder.item_vectors().sum()).backward()
    optimiser.step()
    assert not encoder.items.weight[0].any()
    assert encoder.items.weight[1].any()


def test_initial_weights_have_the_configured_spread():
    torch.manual_seed(0)
    encoder = TransformerConfig(init_std=0.5, positions="from_start").build(5000)
    for weight in (encoder.items.weight[1:], encoder.places.weight, encoder.blocks[0].attention.qkv.weight):
        assert weight.std().item() == pytest.approx(0.5, rel=0.05)
    assert not encoder.blocks[0].attention.qkv.bias.any()


@pytest.mark.parametrize("depth", [1, 2])
def test_each_depth_reads_at_the_mask(make_batch, depth):
    whole, batch = build(causal=False, readout="mask", mask_token=True), make_batch(*HISTORIES)
    found = whole.depths(batch)[depth - 1]
    del whole.blocks[depth:]
    torch.testing.assert_close(found.events, whole(batch).events)
    torch.testing.assert_close(found.users, whole(batch).users)


def test_a_read_out_at_a_mask_needs_one():
    with pytest.raises(ConfigError, match=r"Set encoder\.mask_token=true"):
        build(readout="mask")


def test_heads_must_divide_dim():
    with pytest.raises(ConfigError, match="heads to divide dim, got dim=64 and heads=7"):
        TransformerConfig().override({"heads": 7})


@pytest.mark.parametrize(
    ("key", "value"),
    [("dim", 0), ("layers", 0), ("max_history", 0), ("dropout", 1.0), ("norm", "both"), ("widht", 3)],
)
def test_values_that_cannot_be_are_refused_by_name(key, value):
    with pytest.raises(ConfigError, match=key):
        TransformerConfig().override({key: value})
