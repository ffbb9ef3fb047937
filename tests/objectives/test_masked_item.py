import math

import pytest
import torch

from usermodel.encoders.transformer import Transformer, TransformerConfig
from usermodel.errors import ConfigError
from usermodel.objectives.masked_item import MaskedItemConfig
from usermodel.objectives.next_item import NextItemConfig

HISTORIES = [[3, 1, 4, 1], [5], [2, 6], [], [9, 9, 9, 8, 7]]
N_ITEMS = 9


def build(**changes) -> Transformer:
    torch.manual_seed(0)
    config = TransformerConfig(
        dim=8, hidden=16, max_history=8, init_std=0.3, dropout=0.0, causal=False, mask_token=True
    )
    return config.override(changes).build(N_ITEMS)


@pytest.fixture
def seen(monkeypatch):
    """Batches that an encoder is given, in turn."""
    batches = []
    forward = Transformer.forward
    monkeypatch.setattr(
        Transformer, "forward", lambda self, batch: batches.append(batch) or forward(self, batch)
    )
    return batches


def minus_log(vector, encoder, item, bias=None) -> torch.Tensor:
    """Minus the log of the softmax over items 1 to 9, item by item."""
    scores = [vector @ encoder.items.weight[i] + (0 if bias is None else bias[i - 1]) for i in range(1, 10)]
    return -(scores[item - 1].exp() / torch.stack(scores).exp().sum()).log()


@pytest.mark.parametrize("bias", [False, True])
def test_value_and_gradient_equal_the_formula_user_by_user(make_batch, seen, bias):
    encoder = build()
    objective = MaskedItemConfig(ratio=0.5, loss="softmax", bias=bias).build(encoder)
    if bias:
        torch.nn.init.normal_(objective.bias)
    torch.manual_seed(4)
    output = objective(encoder, make_batch(*HISTORIES))
    masked, losses, start = seen[0].masked.tolist(), [], 0
    for items in HISTORIES:
        hidden = masked[start : start + len(items)]
        start += len(items)
        # ceil(n / 2), n - 1 at most.
        assert sum(hidden) == min(math.ceil(len(items) / 2), max(len(items) - 1, 0))
        if not any(hidden):
            continue
        # Item 1 in place of the hidden ones: the encoder must not see what stands there.
        shown = [1 if here else item for item, here in zip(items, hidden, strict=True)]
        one = make_batch(shown)
        object.__setattr__(one, "masked", torch.tensor(hidden))
        vectors = encoder(one).events
        losses += [
            minus_log(vectors[place], encoder, items[place], objective.bias)
            for place, here in enumerate(hidden)
            if here
        ]
    assert output.n_targets == len(losses) == 2 + 0 + 1 + 0 + 3
    wanted = torch.stack(losses).mean()
    torch.testing.assert_close(output.loss, wanted, atol=1e-6, rtol=1e-6)
    assert torch.equal(output.parts["softmax"], output.loss.detach())
    weights = [encoder.items.weight, encoder.mask_token, *objective.parameters()]
    ours, theirs = (torch.autograd.grad(loss, weights) for loss in (output.loss, wanted))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("readout", ["last", "mean", "attention", "mask"])
def test_histories_drawn_for_it_predict_their_last_item_from_the_user_vector(
    make_batch, monkeypatch, readout
):
    """With draws of 0 all histories of two events and more; nothing is hidden in them."""
    encoder = build(readout=readout)
    monkeypatch.setattr(torch, "rand", lambda *shape, **kind: torch.zeros(shape, **kind))
    output = MaskedItemConfig(last_only=0.5).build(encoder)(encoder, make_batch(*HISTORIES))
    wanted = [
        minus_log(encoder(make_batch(items[:-1])).users[0], encoder, items[-1])
        for items in HISTORIES
        if len(items) > 1
    ]
    torch.testing.assert_close(output.loss, torch.stack(wanted).mean(), atol=1e-6, rtol=1e-6)
    assert output.n_targets == 3


def test_about_the_share_asked_for_predicts_the_last_item(make_batch, seen):
    encoder = build()
    objective = MaskedItemConfig(last_only=0.25).build(encoder)
    torch.manual_seed(1)
    output = objective(encoder, make_batch(*[[1, 2, 3, 4]] * 2000))
    short = seen[0].lengths == 3
    assert 0.22 < short.double().mean() < 0.28
    assert output.n_targets == int(short.sum()) + 2 * int((~short).sum())
    assert not seen[0].masked[short[seen[0].user_of_event]].any()


def test_a_history_that_is_too_long_counts_with_its_latest_events(make_batch, seen):
    """Windows of `AllPositionsConfig` have one event more than the encoder reads: the last target."""
    encoder = build(positions="from_start", max_history=3)
    for last_only in (0.0, 0.999):
        MaskedItemConfig(last_only=last_only).build(encoder)(encoder, make_batch([1, 2, 3, 4], [5, 6]))
    assert seen[0].item_index.tolist() == [2, 3, 4, 5, 6]
    assert seen[1].item_index.tolist() == [1, 2, 3, 5]


def test_where_the_user_is_read_at_a_mask_the_last_item_is_hidden_in_its_place(make_batch, monkeypatch):
    """One pass: nothing stands behind histories that hide other items, and a mask counts beside the events that are read."""
    encoder, batches = build(readout="mask", max_history=3), []
    events = Transformer.events
    monkeypatch.setattr(
        Transformer, "events", lambda self, batch: batches.append(batch) or events(self, batch)
    )
    batch = make_batch([1, 2, 3, 4], [5, 6], [7])
    for last_only in (0.0, 0.999):
        output = MaskedItemConfig(last_only=last_only).build(encoder)(encoder, batch)
        assert output.n_targets == 2
    some, last = batches
    assert some.item_index.tolist() == [2, 3, 4, 5, 6, 7]
    assert some.timestamps_s.tolist() == [1001, 1002, 1003, 1000, 1001, 1000]
    assert last.item_index.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert last.masked.tolist() == [False, False, False, True, False, True, False]
    assert last.timestamps_s.tolist() == [1000, 1001, 1002, 1002, 1000, 1000, 1000]


def test_the_hidden_item_is_not_seen(make_batch, monkeypatch):
    """Equal draws hide the first places: what stands there changes the target, and no vector."""
    encoder = build()
    monkeypatch.setattr(torch, "rand", lambda *shape, **kind: torch.full(shape, 0.5, **kind))
    objective = MaskedItemConfig().build(encoder)
    losses = [objective(encoder, make_batch([item, 5, 6])).loss for item in range(1, 10)]
    # Losses of all items at one vector: their probabilities add up to 1.
    torch.testing.assert_close(torch.stack(losses).neg().exp().sum(), torch.tensor(1.0))


def test_encoders_that_cannot_be_used_are_refused():
    with pytest.raises(ConfigError) as caught:
        MaskedItemConfig().build(build(causal=True))
    assert str(caught.value) == (
        "encoder.causal: expected a bidirectional encoder for masked items; found causal=true. "
        "Set encoder.causal=false, or choose an objective for causal encoders."
    )
    with pytest.raises(ConfigError, match=r"encoder\.mask_token"):
        MaskedItemConfig().build(build(mask_token=False))
    with pytest.raises(ConfigError):
        NextItemConfig().build(build())


@pytest.mark.parametrize(
    "options",
    [{"bias": True}, {"bias": True, "loss": "gbce"}, {"loss": "softmax", "n_negatives": 3}, {"ratio": 0.0}],
    ids=str,
)
def test_options_without_effect_are_refused(options):
    with pytest.raises(ValueError, match=r"bias only|n_negatives only|greater than 0"):
        MaskedItemConfig(**options)
