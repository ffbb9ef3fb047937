"""The GRU against torch's own, run on the rectangle that pads on the left."""

import pytest
import torch
from torch import nn

from usermodel.encoders.gru import Gru, GruConfig
from usermodel.errors import ConfigError
from usermodel.nn.item_table import HashedItemsConfig, PlainItemsConfig

N_ITEMS = 30
HISTORIES = [[3, 1, 4, 1, 5], [9], [], [2, 6, 5, 3, 5, 8, 9, 7], [30, 29], [1, 1, 1, 1, 1, 1, 1]]
FULL = [own for own in HISTORIES if own]
HASHED = HashedItemsConfig(table_rows=17, lookups=2)


def build(**changes) -> Gru:
    torch.manual_seed(0)
    encoder = GruConfig(**({"dim": 6, "hidden": 10, "max_history": 8} | changes)).build(N_ITEMS)
    for weight in encoder.parameters():
        nn.init.normal_(weight, std=0.5)
    return encoder.eval()


def plain(encoder: Gru) -> nn.GRU:
    """torch's GRU with the same weights."""
    first = encoder.layers[0]
    gru = nn.GRU(encoder.dim, first.hidden_size, len(encoder.layers), bias=first.bias, batch_first=True)
    for depth, layer in enumerate(encoder.layers):
        for name, weight in layer.named_parameters():
            getattr(gru, name.replace("_l0", f"_l{depth}")).data = weight.data
    return gru


def left_padded(encoder: Gru, width: int) -> list[torch.Tensor]:
    """States of each history's own events when zeros fill it up on the left and the network runs over them."""
    rectangle = torch.tensor([[0] * (width - len(own)) + own for own in FULL])
    vectors = encoder.items(rectangle.flatten()).view(*rectangle.shape, -1)
    states = encoder.projection(plain(encoder)(vectors)[0])
    return [row[width - len(own) :] for row, own in zip(states, FULL, strict=True)]


@pytest.mark.parametrize("readout", ["last", "mean"])
@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("pad", [0, 8, 13])
def test_equals_torchs_gru_on_the_left_padded_rectangle(make_batch, pad, layers, biases, readout):
    encoder = build(left_pad_to=pad, layers=layers, biases=biases, readout=readout)
    found = encoder(make_batch(*HISTORIES))
    if pad:
        wanted = left_padded(encoder, pad)
    else:
        gru = plain(encoder)
        wanted = [encoder.projection(gru(encoder.items(torch.tensor(own))[None])[0][0]) for own in FULL]
    torch.testing.assert_close(found.events, torch.cat(wanted), atol=1e-5, rtol=1e-5)
    users = torch.stack([states[-1] if readout == "last" else states.mean(0) for states in wanted])
    torch.testing.assert_close(found.users[[0, 1, 3, 4, 5]], users, atol=1e-5, rtol=1e-5)
    assert not found.users[2].any()


@pytest.mark.parametrize("items", [PlainItemsConfig(), HASHED])
@pytest.mark.parametrize("pad", [0, 8])
def test_gradients_equal_those_of_running_over_the_padding(make_batch, pad, items):
    encoder = build(left_pad_to=pad, layers=2, items=items)
    found = encoder(make_batch(*HISTORIES)).events
    rows = []
    for own in FULL:
        x = encoder.items(torch.tensor([0] * max(0, pad - len(own)) + own))
        for layer in encoder.layers:
            x = nn.GRU.forward(layer, x)[0]
        rows.append(encoder.projection(x)[-len(own) :])
    wanted = torch.cat(rows)
    factor = torch.randn_like(wanted)
    names, parameters = zip(*encoder.named_parameters(), strict=True)
    ours = torch.autograd.grad((found * factor).sum(), parameters)
    theirs = torch.autograd.grad((wanted * factor).sum(), parameters)
    for name, x, y in zip(names, ours, theirs, strict=True):
        torch.testing.assert_close(x, y, atol=2e-5, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}")
    # The vector of the padding learns exactly where it is used; only a plain table has a row for it in any case.
    if items.kind == "plain":
        assert bool(ours[names.index("items.weight")][0].any()) == bool(pad)
    else:
        assert ("items.own_padding" in names) == bool(pad)


@torch.no_grad()
def test_with_padding_a_vector_still_does_not_depend_on_the_rest_of_the_batch(make_batch):
    encoder = build(left_pad_to=9, layers=2)
    together = encoder(make_batch(*HISTORIES)).users
    for number, own in enumerate(HISTORIES):
        torch.testing.assert_close(together[number], encoder(make_batch(own)).users[0], atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_the_padding_changes_short_histories_and_not_full_ones(make_batch):
    padded, bare = build(left_pad_to=8), build()
    bare.load_state_dict(padded.state_dict())
    change = (padded(make_batch(*HISTORIES)).users - bare(make_batch(*HISTORIES)).users).abs().amax(1)
    assert change[3] == 0
    assert change[1] > 1e-3


def test_ten_thousand_events_of_one_user(make_batch):
    encoder = build(max_history=10_000)
    with torch.no_grad():
        out = encoder(make_batch([1 + n % N_ITEMS for n in range(10_000)]))
    assert bool(out.events.isfinite().all())


def test_autocast_leaves_the_states_in_float32(make_batch):
    encoder = build(projection=False, hidden=6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = encoder(make_batch(*HISTORIES)).users
    assert found.dtype == torch.float32
    assert torch.equal(found, encoder(make_batch(*HISTORIES)).users)


def test_padding_has_no_vector_at_the_start():
    torch.manual_seed(0)
    assert not GruConfig(left_pad_to=50).build(N_ITEMS).items.weight[0].any()
    assert GruConfig(init_std=0.5).build(5000).items.weight[1:].std().item() == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"projection": False}, "hidden to equal dim without a projection, got hidden=128 and dim=64"),
        ({"left_pad_to": 49}, "left_pad_to to be 0 or at least max_history=50, got 49"),
        ({"layers": 0}, "layers"),
    ],
)
def test_values_that_cannot_be_are_refused(changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        GruConfig().override(changes)
